//! Rollouts on disk: `STATE/store/rollouts/ID.json` while they are open, and in `closed/` with
//! their outcome. Carries out the decisions of [`crate::fleet::rollout`].

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

use super::files;
use super::generations::Generations;
use super::layout;
use super::lock::StateLock;
use super::state::State;
use crate::fleet::By;
use crate::fleet::EventId;
use crate::fleet::History;
use crate::fleet::Kind;
use crate::fleet::format;
use crate::fleet::rollout::Member;
use crate::fleet::rollout::Rollout;
use crate::fleet::rollout::Step;
use crate::fleet::rollout::next;
use crate::fleet::unix_millis;

const FORMAT: u32 = 1;

const CLOSED: &str = "closed";

/// Closed rollouts that stay in any case, and the time for which all of them do.
const CLOSED_KEPT: usize = 200;
const CLOSED_FOR: time::Duration = time::Duration::days(90);

/// Longest wait of a rollout for another writer of a gateway's events. It holds the state's lock
/// meanwhile, so it gives up early; the server retries.
const PATIENCE: Duration = Duration::from_millis(500);

/// A rollout in its file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StoredRollout {
    format: u32,
    /// The time when it began.
    #[serde(with = "time::serde::rfc3339")]
    pub began: OffsetDateTime,
    /// Who began it and why. Older versions left it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
    /// Waves, gateways, generations.
    #[serde(flatten)]
    pub rollout: Rollout,
    /// The outcome, once it is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}

/// Rollouts that could be read, and errors of the others.
#[derive(Debug, Default)]
pub struct ReadRollouts {
    /// Those that could be read, by id.
    pub found: BTreeMap<EventId, StoredRollout>,
    /// An error for each of the others.
    pub damaged: Vec<anyhow::Error>,
}

/// All rollouts.
#[derive(Clone, Debug)]
pub struct Rollouts {
    dir: PathBuf,
}

impl Rollouts {
    /// The rollouts of `state`.
    pub fn new(state: &State) -> Self {
        Self { dir: state.store_dir().join(layout::ROLLOUTS) }
    }

    /// Opens a rollout.
    pub fn begin(
        &self,
        _: &StateLock,
        rollout: Rollout,
        by: &By,
        now: OffsetDateTime,
    ) -> Result<EventId> {
        files::create_dir(&self.dir, layout::PRIVATE_DIR)?;
        let id = EventId::after(self.open()?.found.keys().next_back().copied(), unix_millis(now));
        let stored = StoredRollout {
            format: FORMAT,
            began: now,
            by: Some(by.clone()),
            rollout,
            outcome: None,
        };
        write(&self.dir.join(format!("{id}.json")), &stored)?;
        Ok(id)
    }

    /// The open rollouts. Usually there are none: then this costs one system call.
    pub fn open(&self) -> Result<ReadRollouts> {
        read_all(&self.dir)
    }

    /// The closed rollouts.
    pub fn closed(&self) -> Result<ReadRollouts> {
        read_all(&self.dir.join(CLOSED))
    }

    /// Removes closed rollouts that are old, beyond the newest ones.
    pub(super) fn forget_old(&self, now: OffsetDateTime) -> Result<()> {
        let dir = self.dir.join(CLOSED);
        let found = self.closed()?.found;
        let beyond = found.len().saturating_sub(CLOSED_KEPT);
        for (id, stored) in found.into_iter().take(beyond) {
            if now - stored.began > CLOSED_FOR {
                let path = dir.join(format!("{id}.json"));
                files::remove_if_there(&path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Closes a rollout.
    pub fn close(&self, _: &StateLock, id: EventId, outcome: String) -> Result<()> {
        let open = self.dir.join(format!("{id}.json"));
        let Some(mut stored) = self.open()?.found.remove(&id) else { return Ok(()) };
        stored.outcome = Some(outcome);
        let closed = self.dir.join(CLOSED);
        files::create_dir(&closed, layout::PRIVATE_DIR)?;
        write(&closed.join(format!("{id}.json")), &stored)?;
        files::remove_if_there(&open).with_context(|| format!("cannot remove {}", open.display()))
    }
}

/// Advances every open rollout as far as possible. A failed rollout does not stop the others; all
/// failures are returned as one error.
///
/// The state's lock is held for one step of one rollout at a time, so that commands get their turn.
pub fn advance(state: &State, now: OffsetDateTime) -> Result<()> {
    let ReadRollouts { found, mut damaged } = Rollouts::new(state).open()?;
    for id in found.into_keys() {
        if let Err(error) = advance_only(state, id, now) {
            damaged.push(error.context(format!("rollout {id} waits")));
        }
    }
    let wrong: Vec<_> = damaged.iter().map(|error| format!("{error:#}")).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

/// Advances one rollout as far as possible, if it is open.
pub fn advance_only(state: &State, id: EventId, now: OffsetDateTime) -> Result<()> {
    while step(state, id, now)? == Progress::Moved {}
    Ok(())
}

/// The result of a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Moved,
    Waits,
}

/// Most gateways for which one step activates a generation, since others wait for the lock
/// meanwhile.
const MOST_AT_ONCE: usize = 64;

fn step(state: &State, id: EventId, now: OffsetDateTime) -> Result<Progress> {
    // No other process may act, and no operator may change anything, between the decision and its
    // events.
    let lock = state.lock()?;
    let rollouts = Rollouts::new(state);
    let Some(stored) = rollouts.open()?.found.remove(&id) else { return Ok(Progress::Waits) };
    let generations = Generations::new(state).with_patience(PATIENCE);
    let mut known = BTreeMap::new();
    for member in stored.rollout.waves.iter().flatten() {
        // An unreadable record does not mean that the gateway was removed.
        let Some(record) = state.gateways().find(&member.gateway)? else { continue };
        if record.id == member.id {
            let policy = record.policy(state.config().assessment.tries);
            known.insert(record.id.clone(), (generations.history(&record.id)?, policy));
        }
    }
    match next(&stored.rollout, &known) {
        Step::Wait(_) => Ok(Progress::Waits),
        Step::Activate(members) => {
            let dropped = |member: &&&Member| {
                let history = known.get(&member.id).map(|(history, _)| history);
                let found = |history: &&History| {
                    let generation = history.by_id(member.generation);
                    generation.is_some_and(|generation| history.is_dropped(generation.number))
                };
                history.as_ref().is_some_and(found)
            };
            if let Some(member) = members.iter().find(dropped) {
                let outcome = format!(
                    "stopped at gateway {}: the files of its generation were removed by \
                     `farmgate gc`; publish the folder again",
                    member.gateway
                );
                tracing::error!(rollout = %id, "{outcome}");
                rollouts.close(&lock, id, outcome)?;
                return Ok(Progress::Waits);
            }
            for member in members.into_iter().take(MOST_AT_ONCE) {
                let generation = member.generation;
                let kind = Kind::Activated { generation };
                generations.append_by(&member.id, kind, stored.by.as_ref(), now)?;
                tracing::info!(rollout = %id, gateway = %member.gateway, "activated");
            }
            Ok(Progress::Moved)
        }
        Step::Stop(member, why) => {
            let outcome = format!("stopped at gateway {}: {why}", member.gateway);
            tracing::error!(rollout = %id, "{outcome}");
            rollouts.close(&lock, id, outcome)?;
            Ok(Progress::Waits)
        }
        Step::Done => {
            tracing::info!(rollout = %id, "every wave went live");
            rollouts.close(&lock, id, "every wave went live".to_owned())?;
            Ok(Progress::Waits)
        }
    }
}

/// Closes an open rollout: no other gateway gets the generation.
pub fn stop(state: &State, id: EventId) -> Result<()> {
    let lock = state.lock()?;
    let rollouts = Rollouts::new(state);
    if !rollouts.open()?.found.contains_key(&id) {
        bail!("there is no open rollout {id}; `farmgate rollout list` shows all of them");
    }
    rollouts.close(&lock, id, "stopped by an operator".to_owned())
}

fn write(path: &Path, stored: &StoredRollout) -> Result<()> {
    files::replace(path, layout::PRIVATE, |file| {
        serde_json::to_writer(file, stored).map_err(io::Error::from)
    })
}

fn read_all(dir: &Path) -> Result<ReadRollouts> {
    let cannot = || format!("cannot read {}", dir.display());
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ReadRollouts::default()),
        entries => entries.with_context(cannot)?,
    };
    let mut listed = ReadRollouts::default();
    for entry in entries {
        let path = entry.with_context(cannot)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(id) = name.and_then(|name| EventId::parse(name.strip_suffix(".json")?)) else {
            continue;
        };
        match read(&path) {
            Ok(Some(stored)) => drop(listed.found.insert(id, stored)),
            // Closed by another process just now.
            Ok(None) => {}
            Err(error) => listed.damaged.push(error),
        }
    }
    Ok(listed)
}

fn read(path: &Path) -> Result<Option<StoredRollout>> {
    let text = match files::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let damaged = || {
        format!(
            "{0} is damaged: restore it from a backup, or move it away, and that rollout is \
             forgotten",
            path.display()
        )
    };
    format::read(&path.display(), &text, FORMAT, &damaged).map(Some)
}
