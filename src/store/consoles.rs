//! The last words of failed boots, `STATE/store/consoles/GATEWAY-ID.json`: the end of the console of
//! the latest few. Only for people; no decision depends on it. Writes the disk.

use std::io;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

use super::files;
use super::layout;
use super::state::State;
use crate::fleet::EventId;
use crate::fleet::GatewayId;

/// Consoles that are kept of a gateway, each of at most
/// [`MAX_CONSOLE`](crate::profile::report::MAX_CONSOLE) bytes.
pub const MOST: usize = 3;

/// The console of a failed boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Console {
    /// The boot.
    pub boot: EventId,
    /// The time when it came.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Its last lines, harmless for a terminal.
    pub text: String,
}

/// The consoles of all gateways.
#[derive(Clone, Debug)]
pub struct Consoles {
    dir: PathBuf,
}

impl Consoles {
    /// The consoles of `state`.
    pub fn new(state: &State) -> Self {
        Self { dir: state.store_dir().join(layout::CONSOLES) }
    }

    /// Adds one, in place of the oldest. A boot has one: its latest.
    pub fn add(&self, gateway: &GatewayId, console: Console) -> Result<()> {
        let mut all = self.read(gateway).unwrap_or_default();
        all.retain(|known| known.boot != console.boot);
        all.push(console);
        let surplus = all.len().saturating_sub(MOST);
        all.drain(..surplus);
        files::create_dir(&self.dir, layout::PRIVATE_DIR)?;
        files::replace(&self.path(gateway), layout::PRIVATE, |file| {
            serde_json::to_writer(file, &all).map_err(io::Error::from)
        })
    }

    /// The kept consoles, oldest first.
    pub fn read(&self, gateway: &GatewayId) -> Result<Vec<Console>> {
        let path = self.path(gateway);
        let text = match files::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        serde_json::from_slice(&text).with_context(|| format!("cannot use {}", path.display()))
    }

    /// Removes those of a gateway.
    pub fn remove(&self, gateway: &GatewayId) -> Result<()> {
        let path = self.path(gateway);
        files::remove_if_there(&path).with_context(|| format!("cannot remove {}", path.display()))
    }

    fn path(&self, gateway: &GatewayId) -> PathBuf {
        self.dir.join(format!("{gateway}.json"))
    }
}
