//! The flight recorder: what each boot of a gateway came to, in
//! `STATE/store/gateways/ID/journal.jsonl`. Bounded, and for people: nothing is
//! decided by it, so it may lose its last lines in a power failure.

use std::fs;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

use super::State;
use super::files;
use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::foreign::Foreign;

/// A journal that has so many bytes becomes the old one; the old one goes.
const MOST_BYTES: u64 = 128 * 1024;

const CURRENT: &str = "journal.jsonl";
const OLD: &str = "journal.old.jsonl";

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry {
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Which boot, if one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<EventId>,
    /// Where the gateway's request came from; a label.
    pub address: Foreign,
    /// How far it came.
    #[serde(flatten)]
    pub stage: Stage,
}

/// How far a boot came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Stage {
    /// It asked what to run.
    Boot {
        /// The generation that it was sent to.
        generation: u64,
        /// Why that one.
        reason: String,
        /// What iPXE says of itself: labels.
        mac: Foreign,
        /// `pcbios` or `efi`.
        platform: Foreign,
        /// Version of iPXE.
        ipxe: Foreign,
    },
    /// It got a file; the boot script is one.
    File {
        /// Path within the generation.
        path: Foreign,
        /// Bytes that it was to get.
        size: u64,
        /// Bytes that were handed to its connection.
        bytes: u64,
        /// How long that took, in milliseconds.
        millis: u64,
    },
    /// nginx was told to send it a file.
    FileByNginx {
        /// Path within the generation.
        path: Foreign,
        /// Bytes of the file.
        size: u64,
    },
    /// The booted system read its secrets.
    Secrets,
    /// The booted system said that it works.
    Acknowledged,
    /// It was turned away, or got something other than what it asked for.
    Error {
        /// Why.
        error: Foreign,
    },
}

/// The journals of all gateways.
#[derive(Clone, Debug)]
pub struct Journals {
    dir: PathBuf,
}

impl Journals {
    /// The journals of `state`.
    pub fn new(state: &State) -> Self {
        Self { dir: state.store_dir().join("gateways") }
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
            // In one piece: a torn line can only be the last one.
            file.write_all(&lines)?;
            if file.metadata()?.len() > MOST_BYTES {
                fs::rename(&path, path.with_file_name(OLD))?;
            }
            Ok(())
        };
        append().with_context(|| format!("cannot write {}", path.display()))
    }

    /// All lines that are kept, oldest first. What cannot be read is left out.
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
