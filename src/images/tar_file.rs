//! A tar file whose files are read where they lie.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;

use super::Files;
use super::error::Why;

/// Most files of an archive: ten images with all the layers that there may be.
const MAX_FILES: usize = 10_000;

/// Links from one name to the next: docker links layers that it wrote already.
const MAX_LINKS: usize = 8;

/// A file within the archive.
enum Entry {
    Bytes { offset: u64, size: u64 },
    Link(String),
}

/// An archive whose files were listed.
pub(super) struct Tar {
    path: String,
    file: RefCell<File>,
    entries: HashMap<String, Entry>,
}

impl Tar {
    pub(super) fn open_archive(files: &dyn Files, path: &str) -> Result<Self, Why> {
        let unreadable = |error| Why::Unreadable { path: path.to_owned(), error };
        let mut file = files.open(path).map_err(unreadable)?;
        let no_archive = |_| Why::NoImage {
            path: path.to_owned(),
            what: "no tar archive (if it is compressed, unpack it)",
        };
        let mut entries = HashMap::new();
        let mut archive = tar::Archive::new(&mut file);
        for entry in archive.entries_with_seek().map_err(unreadable)? {
            let entry = entry.map_err(no_archive)?;
            let name = plain(&String::from_utf8_lossy(&entry.path_bytes()));
            let kind = entry.header().entry_type();
            let found = if kind.is_symlink() || kind.is_hard_link() {
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = String::from_utf8_lossy(&target).into_owned();
                Entry::Link(if kind.is_symlink() { beside(&name, &target) } else { plain(&target) })
            } else if kind.is_file() {
                Entry::Bytes { offset: entry.raw_file_position(), size: entry.size() }
            } else {
                continue;
            };
            if entries.len() >= MAX_FILES {
                let what = "an archive with too many files to be one of `docker save`";
                return Err(Why::NoImage { path: path.to_owned(), what });
            }
            entries.insert(name, found);
        }
        Ok(Self { path: path.to_owned(), file: file.into(), entries })
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Opens a file of the archive. Links lead only to other files of it.
    pub(super) fn open(&self, name: &str) -> Result<Member<'_>, Why> {
        let mut at = plain(name);
        for _ in 0..MAX_LINKS {
            match self.entries.get(&at) {
                Some(Entry::Bytes { offset, size }) => {
                    return Ok(Member { file: &self.file, at: *offset, left: *size });
                }
                Some(Entry::Link(target)) => at.clone_from(target),
                None => break,
            }
        }
        let path = format!("{name} of {}", self.path);
        Err(Why::Unreadable { path, error: io::ErrorKind::NotFound.into() })
    }
}

/// The name of a file in an archive, without what does not matter.
fn plain(name: &str) -> String {
    let parts = name.split('/').filter(|part| !part.is_empty() && *part != ".");
    parts.collect::<Vec<_>>().join("/")
}

/// The target of a symbolic link at `name`.
fn beside(name: &str, target: &str) -> String {
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// A file of an archive.
pub(super) struct Member<'a> {
    file: &'a RefCell<File>,
    at: u64,
    left: u64,
}

impl Read for Member<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let mut file = self.file.borrow_mut();
        file.seek(SeekFrom::Start(self.at))?;
        let count = file.read(&mut buffer[..most])?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
