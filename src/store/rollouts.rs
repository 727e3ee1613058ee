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
use anyhow::ensure;
use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

use super::State;
use super::files;
use super::generations::Generations;
use crate::fleet::EventId;
use crate::fleet::Kind;
use crate::fleet::format;
use crate::fleet::rollout::Rollout;
use crate::fleet::rollout::Step;
use crate::fleet::rollout::next;
use crate::fleet::unix_millis;

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

/// Rollouts that could be read, and why others could not.
#[derive(Debug, Default)]
pub struct Listed {
    /// By id.
    pub found: BTreeMap<EventId, Stored>,
    /// What is wrong with the others, one by one.
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
        Self { dir: state.store_dir().join("rollouts") }
    }

    /// Opens a rollout.
    pub fn begin(&self, rollout: Rollout, now: OffsetDateTime) -> Result<EventId> {
        files::create_dir(&self.dir, 0o700)?;
        let id = EventId::after(self.open()?.found.keys().next_back().copied(), unix_millis(now));
        let stored = Stored { format: FORMAT, began: now, rollout, outcome: None };
        write(&self.dir.join(format!("{id}.json")), &stored)?;
        Ok(id)
    }

    /// Those that are under way. Usually none: then this costs one look.
    pub fn open(&self) -> Result<Listed> {
        read_all(&self.dir)
    }

    /// Those that are over.
    pub fn closed(&self) -> Result<Listed> {
        read_all(&self.dir.join("closed"))
    }

    /// Closes a rollout.
    pub fn close(&self, id: EventId, outcome: String) -> Result<()> {
        let open = self.dir.join(format!("{id}.json"));
        let Some(mut stored) = self.open()?.found.remove(&id) else { return Ok(()) };
        stored.outcome = Some(outcome);
        let closed = self.dir.join("closed");
        files::create_dir(&closed, 0o700)?;
        write(&closed.join(format!("{id}.json")), &stored)?;
        files::remove_if_there(&open).with_context(|| format!("cannot remove {}", open.display()))
    }
}

/// Takes every open rollout as far as it can go now. What is wrong with one holds up no
/// other; it is the error in the end.
pub fn advance(state: &State, now: OffsetDateTime) -> Result<()> {
    let rollouts = Rollouts::new(state);
    let open = rollouts.open()?;
    if open.found.is_empty() && open.damaged.is_empty() {
        return Ok(());
    }
    // So that no two do the same, and no operator changes anything in between.
    let _lock = state.lock()?;
    let Listed { found, mut damaged } = rollouts.open()?;
    for (id, stored) in found {
        if let Err(error) = advance_one(state, &rollouts, id, &stored, now) {
            damaged.push(error.context(format!("rollout {id} waits")));
        }
    }
    let wrong: Vec<_> = damaged.iter().map(|error| format!("{error:#}")).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

/// The same for one, if it is open.
pub fn advance_only(state: &State, id: EventId, now: OffsetDateTime) -> Result<()> {
    let _lock = state.lock()?;
    let rollouts = Rollouts::new(state);
    match rollouts.open()?.found.get(&id) {
        Some(stored) => advance_one(state, &rollouts, id, stored, now),
        None => Ok(()),
    }
}

fn advance_one(
    state: &State,
    rollouts: &Rollouts,
    id: EventId,
    stored: &Stored,
    now: OffsetDateTime,
) -> Result<()> {
    let generations = Generations::new(state);
    loop {
        let mut known = BTreeMap::new();
        for member in stored.rollout.waves.iter().flatten() {
            // A record that cannot be read is no gateway that was removed.
            let Some(record) = state.gateways().find(&member.gateway)? else { continue };
            if record.id == member.id {
                let policy = record.policy(state.config().assessment.tries);
                known.insert(record.id.clone(), (generations.history(&record.id)?, policy));
            }
        }
        match next(&stored.rollout, &known) {
            Step::Wait(_) => return Ok(()),
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
                return rollouts.close(id, outcome);
            }
            Step::Done => {
                tracing::info!(rollout = %id, "every wave went live");
                return rollouts.close(id, "every wave went live".to_owned());
            }
        }
    }
}

/// Ends an open rollout: no other gateway gets the generation.
pub fn stop(state: &State, id: EventId) -> Result<()> {
    let _lock = state.lock()?;
    let rollouts = Rollouts::new(state);
    if !rollouts.open()?.found.contains_key(&id) {
        bail!("there is no open rollout {id}; `farmgate rollout list` shows those there are");
    }
    rollouts.close(id, "stopped by an operator".to_owned())
}

fn write(path: &Path, stored: &Stored) -> Result<()> {
    files::replace(path, 0o600, |file| serde_json::to_writer(file, stored).map_err(io::Error::from))
}

fn read_all(dir: &Path) -> Result<Listed> {
    let cannot = || format!("cannot read {}", dir.display());
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Listed::default()),
        entries => entries.with_context(cannot)?,
    };
    let mut listed = Listed::default();
    for entry in entries {
        let path = entry.with_context(cannot)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(id) = name.and_then(|name| EventId::parse(name.strip_suffix(".json")?)) else {
            continue;
        };
        match read(&path) {
            Ok(Some(stored)) => drop(listed.found.insert(id, stored)),
            // Closed in this moment.
            Ok(None) => {}
            Err(error) => listed.damaged.push(error),
        }
    }
    Ok(listed)
}

fn read(path: &Path) -> Result<Option<Stored>> {
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
