//! The file of the log, locked for as long as it is open.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;

use crate::store::files;
use crate::store::lock;

/// What the log asks of a disk.
pub(super) trait Disk: Debug + Send + Sync {
    /// All bytes of both halves, or fewer.
    fn read(&self) -> io::Result<Vec<u8>>;
    /// Writes; nothing says when that is durable.
    fn write(&self, bytes: &[u8], at: usize) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&self) -> io::Result<()>;
    /// Makes all objects of the store durable.
    fn sync_objects(&self) -> io::Result<()>;
}

#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
    len: u64,
}

impl LogFile {
    /// Opens the log, which is made if it is not there. Fails if another process has it.
    pub(super) fn open(path: &Path, half: usize) -> Result<Self> {
        let cannot = || format!("cannot open {}", path.display());
        Self::locked(files::read_write_or_make(path).with_context(cannot)?, path, half)
    }

    /// The same for a log that is there, has lines, and is nobody's.
    pub(super) fn left_over(path: &Path, half: usize) -> Result<Option<Self>> {
        let file = files::read_write(path)?;
        let mut first = [0];
        let mut used = false;
        for at in [0, half as u64] {
            used |= file.read_at(&mut first, at)? == 1 && first != [0];
        }
        if !used {
            return Ok(None);
        }
        Self::locked(file, path, half).map(Some)
    }

    fn locked(file: File, path: &Path, half: usize) -> Result<Self> {
        lock::take(&file, path, Duration::ZERO)?;
        Ok(Self { file, len: 2 * half as u64 })
    }

    /// Has the file system find room for both halves, now and not in the middle of a boot.
    pub(super) fn allocate(&self, half: usize) -> io::Result<()> {
        let zeros = vec![0; half];
        let mut len = self.file.metadata()?.len();
        if len >= self.len {
            return Ok(());
        }
        while len < self.len {
            let more = zeros.len().min((self.len - len) as usize);
            self.file.write_all_at(&zeros[..more], len)?;
            len += more as u64;
        }
        self.file.sync_all()
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
        // The log is in the same file system. One call for all: thousands of `fsync` would take
        // thousands of commits of the file system's journal.
        Ok(rustix::fs::syncfs(&self.file)?)
    }
}
