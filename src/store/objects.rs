//! Objects of a gateway in a directory: one event each, or a pack of them. Reads and writes the
//! disk.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use anyhow::Result;
use serde::Serialize;

use super::files;
use crate::fleet::EventId;
use crate::fleet::Events;
use crate::fleet::ObjectName;
use crate::fleet::format;
use crate::fleet::parse_object;

/// The bytes of an object's file: one line.
pub(super) fn to_bytes(object: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(object)?;
    bytes.push(b'\n');
    Ok(bytes)
}

pub(super) fn write(dir: &Path, name: ObjectName, object: &[u8]) -> Result<()> {
    files::replace(&dir.join(name.to_string()), super::layout::PRIVATE, |file| {
        file.write_all(object)
    })
}

/// Names of the objects of a gateway.
pub(super) fn object_names(dir: &Path) -> Result<BTreeSet<ObjectName>> {
    names(dir, ObjectName::parse)
}

/// Ids of the objects in a directory whose files are `ID.json`.
pub(super) fn ids(dir: &Path) -> Result<BTreeSet<EventId>> {
    names(dir, |name| EventId::parse(name.strip_suffix(".json")?))
}

/// The names in a directory that `parse` knows; none if the directory is missing.
fn names<N: Ord>(dir: &Path, parse: impl Fn(&str) -> Option<N>) -> Result<BTreeSet<N>> {
    let read = || -> io::Result<BTreeSet<N>> {
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            entries => entries?,
        };
        let mut names = BTreeSet::new();
        for entry in entries {
            names.extend(entry?.file_name().to_str().and_then(&parse));
        }
        Ok(names)
    };
    read().with_context(|| format!("cannot read {}", dir.display()))
}

/// An object that was read.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its bytes, which are the same in every store.
    pub bytes: Vec<u8>,
    pub events: Arc<Events>,
}

/// The error of an object that could not be read.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) error: anyhow::Error,
    /// The bytes were read and cannot be parsed: a retry would fail, too.
    pub(super) lasting: bool,
}

impl Unreadable {
    /// True for an object of a newer version, which may know better what is still needed.
    pub(super) fn is_newer(&self) -> bool {
        self.error.is::<format::Newer>()
    }
}

/// Reads the bytes and events of an object; `None` if it no longer exists.
pub(super) fn read_object(dir: &Path, name: ObjectName) -> Result<Option<Object>, Unreadable> {
    let path = dir.join(name.to_string());
    let bytes = match files::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let error =
                anyhow::Error::new(error).context(format!("cannot read {}", path.display()));
            return Err(Unreadable { error, lasting: false });
        }
    };
    match parse_object(&path.display(), name, &bytes) {
        Ok(events) => Ok(Some(Object { bytes, events: Arc::new(events) })),
        Err(error) => Err(Unreadable { error, lasting: true }),
    }
}
