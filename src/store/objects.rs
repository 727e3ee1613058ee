//! Objects of a gateway in a directory: one event each, or a pack of them. Reads and writes the
//! disk.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use serde::Serialize;

use super::files;
use crate::fleet::Events;
use crate::fleet::ObjectName;
use crate::fleet::format;
use crate::fleet::parse_object;

pub(super) fn write(dir: &Path, name: ObjectName, object: &impl Serialize) -> Result<()> {
    files::replace(&dir.join(name.to_string()), super::layout::PRIVATE, |file| {
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
    /// The bytes were read and cannot be parsed: another try would fail, too.
    pub(super) lasting: bool,
}

impl Unreadable {
    /// Whether a newer version wrote it, which may know better what is still needed.
    pub(super) fn is_newer(&self) -> bool {
        self.error.is::<format::Newer>()
    }
}

/// Reads an object; `None` if it is gone by now.
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
    let parsed = parse_object(&path.display(), name, &text);
    parsed.map(Some).map_err(|error| Unreadable { error, lasting: true })
}
