//! Rollouts: `STATE/store/rollouts/ID.json` while they are open, and in `closed/`
//! with what came of them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

use super::State;
use super::events::EventId;
use super::events::Kind;
use super::files;
use super::format;
use super::generations::Generations;
use crate::boot::rollout::Rollout;
use crate::boot::rollout::Step;
use crate::boot::rollout::next;

const FORMAT: u32 = 1;

/// A rollout as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stored {
    format: u32,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub began: OffsetDateTime,
    /// Who gets what.
    #[serde(flatten)]
    pub rollout: Rollout,
    /// What came of it, once it is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}

/// All rollouts.
#[derive(Clone, Debug)]
pub struct Rollouts {
    dir: PathBuf,
}

impl Rollouts {
    /// The rollouts of `state`.
    pub fn new(state: &State) -> Self {
        Self { dir: state.store_dir().join("rollouts") }
    }

    /// Opens a rollout.
    pub fn begin(&self, rollout: Rollout, now: OffsetDateTime) -> Result<EventId> {
        files::create_dir(&self.dir, 0o700)?;
        let millis = (now.unix_timestamp_nanos() / 1_000_000).try_into().unwrap_or(0);
        let id = EventId::after(self.open()?.keys().next_back().copied(), millis);
        let stored = Stored { format: FORMAT, began: now, rollout, outcome: None };
        write(&self.dir.join(format!("{id}.json")), &stored)?;
        Ok(id)
    }

    /// Those that are under way. Usually none: then this costs one look.
    pub fn open(&self) -> Result<BTreeMap<EventId, Stored>> {
        read_all(&self.dir)
    }

    /// Those that are over.
    pub fn closed(&self) -> Result<BTreeMap<EventId, Stored>> {
        read_all(&self.dir.join("closed"))
    }

    /// Closes a rollout.
    pub fn close(&self, id: EventId, outcome: String) -> Result<()> {
        let open = self.dir.join(format!("{id}.json"));
        let Some(mut stored) = self.open()?.remove(&id) else { return Ok(()) };
        stored.outcome = Some(outcome);
        let closed = self.dir.join("closed");
        files::create_dir(&closed, 0o700)?;
        write(&closed.join(format!("{id}.json")), &stored)?;
        files::remove_if_there(&open).with_context(|| format!("cannot remove {}", open.display()))
    }
}

/// Takes every open rollout as far as it can go now.
pub fn advance(state: &State, now: OffsetDateTime) -> Result<()> {
    let rollouts = Rollouts::new(state);
    if rollouts.open()?.is_empty() {
        return Ok(());
    }
    // So that no two do the same, and no operator changes anything in between.
    let _lock = state.lock()?;
    let generations = Generations::new(state);
    for (id, stored) in rollouts.open()? {
        loop {
            let mut known = BTreeMap::new();
            for member in stored.rollout.waves.iter().flatten() {
                let Ok(record) = state.gateways().load(&member.gateway) else { continue };
                if record.id == member.id {
                    let policy = record.policy(state.config().assessment.tries);
                    known.insert(record.id.clone(), (generations.history(&record.id)?, policy));
                }
            }
            match next(&stored.rollout, &known) {
                Step::Wait(_) => break,
                Step::Activate(members) => {
                    for member in members {
                        let generation = member.generation;
                        generations.append(&member.id, Kind::Activated { generation }, now)?;
                        tracing::info!(rollout = %id, gateway = %member.gateway, "activated");
                    }
                }
                Step::Stop(member, why) => {
                    let outcome = format!("stopped at gateway {}: {why}", member.gateway);
                    tracing::error!(rollout = %id, "{outcome}");
                    rollouts.close(id, outcome)?;
                    break;
                }
                Step::Done => {
                    tracing::info!(rollout = %id, "every wave went live");
                    rollouts.close(id, "every wave went live".to_owned())?;
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Ends an open rollout: no other gateway gets the generation.
pub fn stop(state: &State, id: EventId) -> Result<()> {
    let _lock = state.lock()?;
    let rollouts = Rollouts::new(state);
    if !rollouts.open()?.contains_key(&id) {
        bail!("there is no open rollout {id}; `farmgate rollout list` shows those there are");
    }
    rollouts.close(id, "stopped by an operator".to_owned())
}

fn write(path: &Path, stored: &Stored) -> Result<()> {
    files::replace(path, 0o600, |file| serde_json::to_writer(file, stored).map_err(io::Error::from))
}

fn read_all(dir: &Path) -> Result<BTreeMap<EventId, Stored>> {
    let cannot = || format!("cannot read {}", dir.display());
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries.with_context(cannot)?,
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        let path = entry.with_context(cannot)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(id) = name.and_then(|name| EventId::parse(name.strip_suffix(".json")?)) else {
            continue;
        };
        let text = match files::read(&path) {
            // Closed in this moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let damaged = || format!("{} is damaged", path.display());
        let stored = format::read(&path.display(), &text, FORMAT, &damaged)?;
        found.insert(id, stored);
    }
    Ok(found)
}
