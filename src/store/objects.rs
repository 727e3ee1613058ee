//! The objects of a gateway, in whatever store: one event each, or a pack of them. They have
//! the same names and the same bytes in a directory and in a bucket.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use anyhow::Result;
use serde::Serialize;

use super::events::Event;
use super::events::EventId;
use super::events::FORMAT;
use super::events::Pack;
use super::files;
use super::format;
use super::history::Events;

/// An object among those of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectName {
    /// One event.
    Event(EventId),
    /// Many of them.
    Pack(EventId),
}

impl ObjectName {
    /// Reads the name of an object; `None` if `file_name` is none.
    pub fn parse(file_name: &str) -> Option<Self> {
        let name = file_name.strip_suffix(".json")?;
        match name.strip_prefix("pack-") {
            Some(name) => EventId::parse(name).map(Self::Pack),
            None => EventId::parse(name).map(Self::Event),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(id) => write!(f, "{id}.json"),
            Self::Pack(id) => write!(f, "pack-{id}.json"),
        }
    }
}

/// The events in an object; `place` is where it was found, for the error.
pub fn parse(place: &dyn fmt::Display, name: ObjectName, text: &[u8]) -> Result<Events> {
    let damaged = || {
        format!(
            "{place} is damaged; restore it from a backup, or move it away to go on without what \
             it said"
        )
    };
    Ok(match name {
        ObjectName::Event(id) => {
            let event: Event = format::read(place, text, FORMAT, &damaged)?;
            Events::from([(id, Arc::new(event))])
        }
        ObjectName::Pack(_) => {
            let pack: Pack = format::read(place, text, FORMAT, &damaged)?;
            pack.events.into_iter().map(|(id, event)| (id, Arc::new(event))).collect()
        }
    })
}

pub(super) fn write(dir: &Path, name: ObjectName, object: &impl Serialize) -> Result<()> {
    files::replace(&dir.join(name.to_string()), 0o600, |file| {
        serde_json::to_writer(&mut *file, object)?;
        file.write_all(b"\n")
    })
}

pub(super) fn object_names(dir: &Path) -> Result<BTreeSet<ObjectName>> {
    let read = || -> io::Result<BTreeSet<ObjectName>> {
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            entries => entries?,
        };
        let mut names = BTreeSet::new();
        for entry in entries {
            names.extend(entry?.file_name().to_str().and_then(ObjectName::parse));
        }
        Ok(names)
    };
    read().with_context(|| format!("cannot read {}", dir.display()))
}

/// Why an event could not be read.
pub(super) struct Unreadable {
    pub(super) error: anyhow::Error,
    /// Its bytes were read, and mean nothing to this program: to try again is vain.
    pub(super) lasting: bool,
}

impl Unreadable {
    /// Whether a newer version can read it, which may know better what is still needed.
    pub(super) fn is_newer(&self) -> bool {
        self.error.is::<format::Newer>()
    }
}

/// `None` if the object is not there any more.
pub(super) fn read_object(dir: &Path, name: ObjectName) -> Result<Option<Events>, Unreadable> {
    let path = dir.join(name.to_string());
    let text = match files::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let error =
                anyhow::Error::new(error).context(format!("cannot read {}", path.display()));
            return Err(Unreadable { error, lasting: false });
        }
    };
    let parsed = parse(&path.display(), name, &text);
    parsed.map(Some).map_err(|error| Unreadable { error, lasting: true })
}
