//! Rollouts on disk: `STATE/store/rollouts/ID.json` while they are open, and in `closed/` with
//! their outcome. `drive` carries out the decisions of [`crate::fleet::rollout`].

mod drive;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

pub use drive::TakenBack;
pub use drive::advance;
pub use drive::advance_only;
pub use drive::fleet;
pub use drive::resume;
pub use drive::stop;
pub use drive::take_back;

use super::files;
use super::layout;
use super::lock::StateLock;
use super::objects;
use super::state::State;
use crate::fleet::By;
use crate::fleet::EventId;
use crate::fleet::format;
use crate::fleet::rollout::Rollout;
use crate::fleet::unix_millis;

const FORMAT: u32 = 1;

const CLOSED: &str = "closed";

/// Closed rollouts that stay in any case, and the time for which all of them do.
const CLOSED_KEPT: usize = 200;
const CLOSED_FOR: time::Duration = time::Duration::days(90);

/// The words that older versions wrote as the outcome of a rollout that came to its end.
const EVERY_WAVE: &str = "every wave went live";

/// A rollout in its file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StoredRollout {
    format: u32,
    /// The time when it began.
    #[serde(with = "time::serde::rfc3339")]
    pub began: OffsetDateTime,
    /// Author and reason. Older versions left it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
    /// Waves, gateways, generations.
    #[serde(flatten)]
    pub rollout: Rollout,
    /// The outcome in words, once it is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The outcome in one word. Older versions left it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<End>,
    /// Its gateways got back what they had: it cannot be resumed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub taken_back: bool,
}

/// The outcome of a rollout in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Every wave works.
    Finished,
    /// An operator stopped it.
    Stopped,
    /// It stopped by itself, at a gateway.
    Failed,
    /// A wave waited too long.
    TimedOut,
}

impl End {
    /// Every [`Self::as_str`].
    pub const NAMES: [&str; 4] = ["finished", "stopped", "failed", "timed-out"];

    /// The name, as in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::TimedOut => "timed-out",
        }
    }
}

impl StoredRollout {
    /// The outcome in one word; `None` while it is open.
    pub fn end(&self) -> Option<End> {
        let outcome = self.outcome.as_deref()?;
        // Older versions wrote only words.
        Some(self.end.unwrap_or(match outcome {
            EVERY_WAVE => End::Finished,
            "stopped by an operator" => End::Stopped,
            _ => End::Failed,
        }))
    }
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
            end: None,
            taken_back: false,
        };
        write(&self.open_path(id), &stored)?;
        Ok(id)
    }

    /// The open rollouts. Usually there are none: then this costs one system call.
    pub fn open(&self) -> Result<ReadRollouts> {
        read_all(&self.dir)
    }

    /// The closed rollouts.
    pub fn closed(&self) -> Result<ReadRollouts> {
        let mut closed = read_all(&self.dir.join(CLOSED))?;
        // One that is being closed or resumed is in both for a moment; it is open.
        closed.found.retain(|id, _| !self.open_path(*id).exists());
        Ok(closed)
    }

    /// An open or closed rollout.
    pub fn load(&self, id: EventId) -> Result<StoredRollout> {
        let found = match read(&self.open_path(id))? {
            None => read(&self.closed_path(id))?,
            open => open,
        };
        found.with_context(|| format!("there is no rollout {id}; {ALL}"))
    }

    /// The rollout whose id ends with these hexadecimal digits; hyphens make no difference.
    pub fn by_tail(&self, tail: &str) -> Result<EventId> {
        let digits = |text: &str| text.replace('-', "").to_ascii_lowercase();
        let wanted = digits(tail);
        // One that is being closed can be in both.
        let mut all = objects::ids(&self.dir)?;
        all.extend(objects::ids(&self.dir.join(CLOSED))?);
        let fits = |id: &EventId| digits(&id.to_string()).ends_with(&wanted);
        let fitting: Vec<_> = all.into_iter().filter(fits).collect();
        match fitting[..] {
            [one] => Ok(one),
            [] => bail!("there is no rollout {tail}; {ALL}"),
            _ => bail!("{} rollouts have an id that ends with {tail}; {ALL}", fitting.len()),
        }
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
    fn close(&self, _: &StateLock, id: EventId, end: End, outcome: String) -> Result<()> {
        let Some(mut stored) = self.open()?.found.remove(&id) else { return Ok(()) };
        stored.outcome = Some(outcome);
        stored.end = Some(end);
        self.write_closed(id, &stored)?;
        remove(&self.open_path(id))
    }

    fn write_closed(&self, id: EventId, stored: &StoredRollout) -> Result<()> {
        files::create_dir(&self.dir.join(CLOSED), layout::PRIVATE_DIR)?;
        write(&self.closed_path(id), stored)
    }

    /// Opens a closed rollout again.
    fn reopen(&self, _: &StateLock, id: EventId, mut stored: StoredRollout) -> Result<()> {
        (stored.outcome, stored.end) = (None, None);
        write(&self.open_path(id), &stored)?;
        remove(&self.closed_path(id))
    }

    fn open_path(&self, id: EventId) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }

    fn closed_path(&self, id: EventId) -> PathBuf {
        self.dir.join(CLOSED).join(format!("{id}.json"))
    }
}

const ALL: &str = "`farmgate rollout list` shows all of them";

fn remove(path: &Path) -> Result<()> {
    files::remove_if_there(path).with_context(|| format!("cannot remove {}", path.display()))
}

fn write(path: &Path, stored: &StoredRollout) -> Result<()> {
    files::replace(path, layout::PRIVATE, |file| {
        serde_json::to_writer(file, stored).map_err(io::Error::from)
    })
}

fn read_all(dir: &Path) -> Result<ReadRollouts> {
    let mut listed = ReadRollouts::default();
    for id in objects::ids(dir)? {
        match read(&dir.join(format!("{id}.json"))) {
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
