//! One look at the git repository: fetch, verify, write out, check, apply. Writes `STATE/sync`.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use serde::Serialize;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::bring;
use super::bring::Brought;
use super::git;
use super::git::Follows;
use super::status::Outcome;
use super::status::Source;
use super::status::Status;
use crate::identity::GatewayName;
use crate::store::State;
use crate::store::files;
use crate::store::layout;
use crate::store::lock;

/// Most gateways that the status remembers.
const MOST_WAITING: usize = 1000;

/// The right to look: one process of this host at a time has it.
pub struct Turn {
    dir: PathBuf,
    _lock: lock::Lock,
}

impl Turn {
    /// Takes the turn, and waits for it for at most `patience`. `None` if another process has it.
    pub fn take(state: &State, patience: Duration) -> Result<Option<Self>> {
        let dir = state.dir().join(layout::SYNC);
        files::create_dir(&dir, layout::PRIVATE_DIR)?;
        let path = dir.join("lock");
        let lock = match patience.is_zero() {
            true => lock::try_at(&path)?,
            false => Some(lock::at_within(&path, patience)?),
        };
        Ok(lock.map(|lock| Self { dir, _lock: lock }))
    }
}

/// Options of a look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Compare the commit with what is live also if it is in force already.
    pub compare: bool,
    /// Also publish what somebody went back from.
    pub again: bool,
    /// Take a tip that does not descend from the commit in force, whatever `fast-forward-only` says.
    pub allow_rewrite: bool,
    /// Change nothing, not even the status.
    pub dry_run: bool,
}

/// The findings of a look.
#[derive(Clone, Debug, Serialize)]
pub struct Looked {
    /// The status from now on, or what it would be.
    #[serde(flatten)]
    pub status: Status,
    /// Changes, made or planned. `None` if the commit was in force already, and was not compared.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub brought: Option<Brought>,
}

/// One look, at a state and in its turn.
struct Look<'a> {
    state: &'a State,
    turn: &'a Turn,
    systemd: Option<&'a Path>,
    stop: &'a CancellationToken,
    wish: Wish,
}

/// Looks once: brings in what the branch has, all or nothing. The result is in the status, too.
pub fn look(
    state: &State,
    turn: &Turn,
    systemd: Option<&Path>,
    stop: &CancellationToken,
    wish: Wish,
) -> Result<Looked> {
    let before = Status::read(state).unwrap_or_else(|error| {
        // It is replaced below.
        tracing::warn!("{error:#}");
        None
    });
    let (look, mut seen) = (Look { state, turn, systemd, stop, wish }, None);
    let result = look.attempt(before.as_ref(), &mut seen);
    let now = OffsetDateTime::now_utc();
    match result {
        Ok((source, brought)) => {
            let changed = brought.as_ref().is_some_and(|brought| !brought.plan.is_empty());
            let outcome = if changed { Outcome::Applied } else { Outcome::Unchanged };
            let mut status = Status::well(before, source, outcome, now);
            if let Some(brought) = &brought {
                status.waiting =
                    brought.plan.unregistered.iter().take(MOST_WAITING).cloned().collect();
            }
            if !wish.dry_run {
                status.write(state)?;
            }
            Ok(Looked { status, brought })
        }
        // The server stops, or whoever called gave up: this says nothing about the repository.
        Err(error) if wish.dry_run || stop.is_cancelled() => Err(error),
        Err(error) => {
            Status::failure(before, seen, &error, now).write(state)?;
            Err(error)
        }
    }
}

impl Look<'_> {
    /// `seen` gets the commit as soon as it is known.
    fn attempt(
        &self,
        before: Option<&Status>,
        seen: &mut Option<Source>,
    ) -> Result<(Source, Option<Brought>)> {
        let config = &self.state.config().sync;
        let remote = config.remote.as_ref().context(
            "there is no repository to bring in: [sync] remote in the configuration names none",
        )?;
        let (dir, systemd, stop) = (&*self.turn.dir, self.systemd, self.stop);
        let settings = git::Settings { config, remote, dir, systemd, stop };
        let fetched = git::fetch(&settings)?;
        let source = fetched.commit.source();
        *seen = Some(source.clone());
        fetched.ensure_signed()?;
        let good = before.and_then(|status| status.good.as_ref()).map(|good| &good.source);
        match good {
            Some(good) if good.commit == source.commit => {
                if !self.wish.compare && !self.somebody_came(before) {
                    return Ok((source, None));
                }
            }
            Some(good) if fetched.follows(&good.commit)? == Follows::Not => {
                self.rewritten(good, &source, before)?;
            }
            Some(_) | None => {}
        }
        let export = fetched.export()?;
        ensure!(!stop.is_cancelled(), "stopped");
        let (now, again) = (OffsetDateTime::now_utc(), self.wish.again);
        let brought = match self.wish.dry_run {
            true => bring::rehearse(self.state, export.path(), again, now),
            false => bring::bring(self.state, export.path(), &fetched.commit, again, now),
        };
        let of = || format!("commit {} by {}", source.short(), source.author);
        let brought = brought.with_context(of)?;
        Ok((source, Some(brought)))
    }

    /// Says whether a gateway that the folder describes was registered since.
    fn somebody_came(&self, before: Option<&Status>) -> bool {
        let registered =
            |name: &GatewayName| matches!(self.state.gateways().find(name), Ok(Some(_)));
        before.is_some_and(|status| status.waiting.iter().any(registered))
    }

    /// The tip does not descend from the commit in force.
    fn rewritten(&self, good: &Source, tip: &Source, before: Option<&Status>) -> Result<()> {
        let config = &self.state.config().sync;
        let what = format!(
            "the branch {} was rewritten or set back: its tip {} does not descend from {}, which \
             is in force",
            config.branch,
            tip.short(),
            good.short()
        );
        ensure!(
            !config.fast_forward_only || self.wish.allow_rewrite,
            "{what}, and [sync] fast-forward-only is set; if that was meant, run \
             `farmgate sync --allow-rewrite`"
        );
        // Once for each tip, however often it fails.
        let known = before.and_then(|status| status.source.as_ref());
        if known.is_none_or(|known| known.commit != tip.commit) {
            tracing::warn!("{what}; the tip is what counts");
        }
        Ok(())
    }
}
