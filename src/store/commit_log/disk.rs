//! The file of the log, locked for as long as it is open. Touches the disk.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;

use crate::store::files;
use crate::store::lock;

/// The log's operations on a disk.
pub(super) trait Disk: Debug + Send + Sync {
    /// Reads both halves; fewer bytes if the file is shorter.
    fn read(&self) -> io::Result<Vec<u8>>;
    /// Writes; it is not durable yet.
    fn write(&self, bytes: &[u8], at: usize) -> io::Result<()>;
    /// Makes all writes durable.
    fn sync(&self) -> io::Result<()>;
    /// Makes all objects of the store durable.
    fn sync_objects(&self) -> io::Result<()>;
}

#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
    len: u64,
    /// The folder of all objects, and its path. It is open from the beginning, since `syncfs`
    /// reports only errors that occur after the open.
    gateways: (File, PathBuf),
}

impl LogFile {
    /// Opens the log, and makes it if it is missing. Fails if another process has it.
    pub(super) fn open(path: &Path, half: usize, gateways: &Path) -> Result<Self> {
        let cannot = || format!("cannot open {}", path.display());
        Self::locked(files::read_write_or_make(path).with_context(cannot)?, path, half, gateways)
    }

    /// Opens an existing log that has lines, if no process has it.
    pub(super) fn left_over(path: &Path, half: usize, gateways: &Path) -> Result<Option<Self>> {
        let file = files::read_write(path)?;
        let mut first = [0];
        let mut used = false;
        for at in [0, half as u64] {
            used |= file.read_at(&mut first, at)? == 1 && first != [0];
        }
        if !used {
            return Ok(None);
        }
        Self::locked(file, path, half, gateways).map(Some)
    }

    fn locked(file: File, path: &Path, half: usize, gateways: &Path) -> Result<Self> {
        lock::take(&file, path, Duration::ZERO)?;
        // If it is missing, no gateway was removed, and all lines are still needed.
        let folder =
            File::open(gateways).with_context(|| format!("cannot open {}", gateways.display()))?;
        Ok(Self { file, len: 2 * half as u64, gateways: (folder, gateways.to_path_buf()) })
    }

    /// Reserves space for both halves now, so that no boot runs out of it later. Reserves nothing
    /// if too little is free.
    pub(super) fn allocate(&self) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        if before >= self.len {
            return Ok(());
        }
        // Not `fallocate`: the first write to such a block changes metadata again.
        let zeros = vec![0; (self.len - before) as usize];
        let written = self.file.write_all_at(&zeros, before).and_then(|()| self.file.sync_all());
        written.inspect_err(|_| {
            let _ = self.file.set_len(before);
        })
    }
}

impl Disk for LogFile {
    fn read(&self) -> io::Result<Vec<u8>> {
        let len = self.file.metadata()?.len().min(self.len);
        let mut bytes = vec![0; len as usize];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    fn write(&self, bytes: &[u8], at: usize) -> io::Result<()> {
        self.file.write_all_at(bytes, at as u64)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_objects(&self) -> io::Result<()> {
        // One call for all: thousands of `fsync` calls would need thousands of commits of the file
        // system's journal.
        let (folder, path) = &self.gateways;
        rustix::fs::syncfs(folder)?;
        let (held, now) = (folder.metadata()?, std::fs::metadata(path)?);
        if (held.dev(), held.ino()) == (now.dev(), now.ino()) {
            Ok(())
        } else {
            let moved = format!("{} was replaced by another folder", path.display());
            Err(io::Error::other(moved))
        }
    }
}
