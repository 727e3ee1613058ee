//! One look at the git repository: fetch, verify, write out, and hand over to whoever checks and
//! applies. Writes `STATE/sync`.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::git;
use super::git::Commit;
use super::git::Follows;
use super::status::Outcome;
use super::status::Source;
use super::status::Status;
use crate::store::State;
use crate::store::files;
use crate::store::layout;

/// The right to look: one process of this host at a time has it.
pub struct Turn {
    dir: PathBuf,
    _lock: files::Lock,
}

impl Turn {
    /// Takes the turn, and waits for it for at most `patience`. `None` if another process has it.
    pub fn take(state: &State, patience: Duration) -> Result<Option<Self>> {
        let dir = state.dir().join(layout::SYNC);
        files::create_dir(&dir, layout::PRIVATE_DIR)?;
        let path = dir.join("lock");
        let lock = match patience.is_zero() {
            true => files::try_lock(&path)?,
            false => Some(files::lock_within(&path, patience)?),
        };
        Ok(lock.map(|lock| Self { dir, _lock: lock }))
    }
}

/// How a look is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Look into the commit also if it is in force already: what was published by hand meanwhile is
    /// replaced.
    pub again: bool,
    /// Take a tip that does not descend from the last good one, whatever `fast-forward-only` says.
    pub allow_rewrite: bool,
    /// Leave the status as it is: nothing is applied.
    pub dry_run: bool,
}

/// Looks once. `apply` gets the folder of the commit, checks all of it, and changes all or nothing;
/// it says whether it changed anything. The result is in the status, too.
pub fn look(
    state: &State,
    turn: &Turn,
    systemd: Option<&Path>,
    stop: &CancellationToken,
    wish: Wish,
    apply: impl FnOnce(&Path, &Commit) -> Result<bool>,
) -> Result<Status> {
    let before = Status::read(state).unwrap_or_else(|error| {
        // The next lines replace it.
        tracing::warn!("{error:#}");
        None
    });
    let mut seen = None;
    let result = attempt(state, turn, systemd, stop, wish, before.as_ref(), &mut seen, apply);
    let now = OffsetDateTime::now_utc();
    if stop.is_cancelled() {
        // The server stops, or its operator gave up: this says nothing about the repository.
        bail!("stopped");
    }
    match result {
        Ok((source, outcome)) => {
            let status = Status::well(before, source, outcome, now);
            if !wish.dry_run {
                status.write(state)?;
            }
            Ok(status)
        }
        Err(error) => {
            if !wish.dry_run {
                Status::failure(before, seen, &error, now).write(state)?;
            }
            Err(error)
        }
    }
}

#[allow(clippy::too_many_arguments)]
fn attempt(
    state: &State,
    turn: &Turn,
    systemd: Option<&Path>,
    stop: &CancellationToken,
    wish: Wish,
    before: Option<&Status>,
    seen: &mut Option<Source>,
    apply: impl FnOnce(&Path, &Commit) -> Result<bool>,
) -> Result<(Source, Outcome)> {
    let config = &state.config().sync;
    let remote = config.remote.as_ref().context(
        "there is no repository to bring in: [sync] remote in the configuration names none",
    )?;
    let settings = git::Settings { config, remote, dir: &turn.dir, systemd, stop };
    let fetched = git::fetch(&settings)?;
    let source = fetched.commit.source();
    *seen = Some(source.clone());
    fetched.ensure_signed()?;
    let good = before.and_then(|status| status.good.as_ref()).map(|good| &good.source);
    if good.is_some_and(|good| good.commit == source.commit) && !wish.again {
        return Ok((source, Outcome::Unchanged));
    }
    if let Some(good) = good.filter(|good| good.commit != source.commit)
        && fetched.follows(&good.commit)? == Follows::Not
    {
        let what = format!(
            "the branch {} was rewritten or set back: its tip {} does not descend from {}, which \
             is in force",
            config.branch,
            source.short(),
            good.short()
        );
        if config.fast_forward_only && !wish.allow_rewrite {
            bail!(
                "{what}, and [sync] fast-forward-only is set; if that was meant, run \
                 `farmgate sync --allow-rewrite`"
            );
        }
        // Once for each tip, however often it fails.
        let known = before.and_then(|status| status.source.as_ref());
        if known.is_none_or(|known| known.commit != source.commit) {
            tracing::warn!("{what}; the tip is what counts");
        }
    }
    let export = fetched.export()?;
    let changed = apply(&export.path(), &fetched.commit)
        .with_context(|| format!("commit {} by {}", source.short(), source.author))?;
    Ok((source, if changed { Outcome::Applied } else { Outcome::Unchanged }))
}
