//! The journal of a gateway's boots, `STATE/store/gateways/ID/journal.jsonl`. It is bounded, and
//! only for people: no decision depends on it, so it may lose its last lines in a power failure.
//! Writes the disk.

use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

use super::files;
use super::layout;
use super::stamp::Stamp;
use super::state::State;
use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::foreign::Foreign;
use crate::profile::report::Step;

/// A journal of this size in bytes becomes the old one, and a new one begins.
const MOST_BYTES: u64 = 128 * 1024;

/// Bytes of the file that hold its latest lines.
const END_BYTES: u64 = 8 * 1024;

const CURRENT: &str = "journal.jsonl";
const OLD: &str = "journal.old.jsonl";

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry {
    /// The time of writing.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The boot, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<EventId>,
    /// Address of the client; a label.
    pub address: Foreign,
    /// Stage that the boot reached.
    #[serde(flatten)]
    pub stage: Stage,
}

/// Stages of a boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Stage {
    /// The gateway asked for its boot script.
    Boot {
        /// The generation that it was sent to.
        generation: u64,
        /// The reason for that generation.
        reason: String,
        /// The MAC address as iPXE states it: a label, like those below.
        mac: Foreign,
        /// `pcbios` or `efi`.
        platform: Foreign,
        /// Version of iPXE.
        ipxe: Foreign,
    },
    /// A file was sent; the boot script is one.
    File {
        /// Path within the generation.
        path: Foreign,
        /// Bytes to send.
        size: u64,
        /// Bytes that were written to the connection.
        bytes: u64,
        /// Duration in milliseconds.
        millis: u64,
    },
    /// nginx was told to send a file.
    FileByNginx {
        /// Path within the generation.
        path: Foreign,
        /// Bytes of the file.
        size: u64,
    },
    /// The booted system read its secrets.
    Secrets,
    /// The booted system acknowledged the boot.
    Acknowledged,
    /// The booted system's agent told a step. Older versions skip such lines.
    Report {
        /// Milliseconds since the kernel started.
        uptime: u64,
        /// The step.
        report: Step<Foreign>,
    },
    /// The gateway was refused, or the request failed.
    Error { error: Foreign },
}

/// The journals of all gateways.
#[derive(Clone, Debug)]
pub struct Journals {
    dir: PathBuf,
}

impl Journals {
    /// The journals of `state`.
    pub fn new(state: &State) -> Self {
        Self { dir: state.store_dir().join(layout::EVENTS) }
    }

    /// Adds lines.
    pub fn append(&self, gateway: &GatewayId, entries: &[Entry]) -> Result<()> {
        let path = self.dir.join(gateway).join(CURRENT);
        let mut lines = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut lines, entry)?;
            lines.push(b'\n');
        }
        let append = || -> io::Result<()> {
            let mut file = files::append(&path)?;
            // One write, so that only the last line can be torn.
            file.write_all(&lines)?;
            if file.metadata()?.len() > MOST_BYTES {
                // Not by its name: a change of the names in the folder would have it listed again.
                let mut old = files::append(&path.with_file_name(OLD))?;
                old.set_len(0)?;
                old.write_all(&files::read(&path)?)?;
                file.set_len(0)?;
            }
            Ok(())
        };
        append().with_context(|| format!("cannot write {}", path.display()))
    }

    /// The latest entries, oldest first: those at the end of the file. Reads one block of it.
    pub fn latest(&self, gateway: &GatewayId) -> Result<Vec<Entry>> {
        let path = self.dir.join(gateway).join(CURRENT);
        let text = files::read_end(&path, END_BYTES);
        let text = match text {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        // The first line may be cut, and then it cannot be parsed.
        let lines = text.split(|byte| *byte == b'\n');
        Ok(lines.filter_map(|line| serde_json::from_slice::<Entry>(line).ok()).collect())
    }

    /// The stamp of the file that [`Self::latest`] reads.
    pub fn stamp(&self, gateway: &GatewayId) -> io::Result<Stamp> {
        Stamp::read(&self.dir.join(gateway).join(CURRENT))
    }

    /// All entries, oldest first, except for lines that cannot be parsed.
    pub fn read(&self, gateway: &GatewayId) -> Result<Vec<Entry>> {
        let home = self.dir.join(gateway);
        let mut entries = Vec::new();
        for path in [home.join(OLD), home.join(CURRENT)] {
            let text = read_if_there(&path)?;
            let lines = text.split(|byte| *byte == b'\n');
            entries.extend(lines.filter_map(|line| serde_json::from_slice::<Entry>(line).ok()));
        }
        Ok(entries)
    }
}

fn read_if_there(path: &Path) -> Result<Vec<u8>> {
    match files::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        text => text.with_context(|| format!("cannot read {}", path.display())),
    }
}
