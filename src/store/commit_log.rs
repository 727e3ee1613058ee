//! One log for the events that the server records: `STATE/store/commit.log`. Gateways that boot at
//! the same moment share one write and one `fdatasync` (group commit). Touches the disk; no
//! network, no clock.
//!
//! An event is first written to an unnamed file, then its line goes to the log. Once the log is on
//! disk, the file gets its name, and only then is the gateway answered. The file itself is not
//! synced. A power failure can therefore tear or lose an object, but its line is in the log:
//! `replay` writes it again before anybody reads it.
//!
//! The log has two halves of a fixed size. One takes lines; the other is empty, or a `checkpoint`
//! is emptying it: one `syncfs` makes all objects in it durable, then its first bytes are zeroed.
//! Blocks are allocated once, so a commit changes no metadata and needs no commit of the file
//! system's own journal.
//!
//! Only the holder of the log's lock writes to it: one server. Commands write their few events
//! themselves, and so does a server that cannot use the log.

mod checkpoint;
mod disk;
mod group;
mod line;
mod replay;

use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use anyhow::Context;
use anyhow::Result;
use uuid::Uuid;

use self::disk::Disk;
use self::disk::LogFile;
use self::group::Entry;
use self::group::Group;
use super::files;
use super::lock;

/// Name of the file in `STATE/store`.
const NAME: &str = "commit.log";

/// Bytes of a half: some 3,000 events.
const HALF: usize = 1024 * 1024;

/// The log. It is closed until [`CommitLog::tend`] opens it. While it is closed or broken, each
/// event is written without it.
#[derive(Debug)]
pub struct CommitLog {
    path: PathBuf,
    gateways: PathBuf,
    half: usize,
    inner: Mutex<Inner>,
    /// Notified of changes in [`Inner`] that a thread may wait for.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    /// `None` while the log is closed.
    disk: Option<Arc<dyn Disk>>,
    /// A write failed: the file's content is uncertain until it is emptied.
    broken: bool,
    /// The last error that was logged.
    trouble: Option<String>,
    halves: [Half; 2],
    /// The half that takes lines.
    active: usize,
    /// A thread is writing to the file; only one may.
    leading: bool,
    /// A thread is emptying a half; only one may.
    emptying: bool,
    /// Events of the forming group.
    waiting: Vec<Entry>,
    group: Arc<Group>,
}

/// A half of the file.
#[derive(Debug)]
struct Half {
    /// The epoch of its lines. Lines of other epochs are left over.
    epoch: u64,
    /// Bytes of lines in it.
    used: usize,
    /// Events whose line is durable and whose object has no name yet.
    unnamed: usize,
}

impl Default for Half {
    fn default() -> Self {
        Self { epoch: Uuid::new_v4().as_u64_pair().0, used: 0, unnamed: 0 }
    }
}

impl Inner {
    fn idle(&self) -> usize {
        1 - self.active
    }

    fn is_unusable(&self) -> bool {
        self.disk.is_none() || self.broken
    }

    /// Switches to the other half if that is empty.
    fn switch(&mut self) -> bool {
        let idle = self.idle();
        if self.halves[idle].used > 0 {
            return false;
        }
        self.halves[idle] = Half::default();
        self.active = idle;
        true
    }

    /// Logs an error, once.
    fn complain(&mut self, trouble: String) {
        if self.trouble.as_ref() != Some(&trouble) {
            tracing::warn!("each event is written by itself, which is slower: {trouble}");
            self.trouble = Some(trouble);
        }
    }

    fn all_is_well(&mut self) {
        if self.trouble.take().is_some() {
            tracing::info!("events of gateways share their writes again");
        }
    }
}

impl CommitLog {
    /// The log of the store in the directory `store`, closed.
    pub fn new(store: &Path) -> Self {
        Self {
            path: store.join(NAME),
            gateways: store.join("gateways"),
            half: HALF,
            inner: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Does all due work: opens the log and replays it after a crash, repairs it after an error,
    /// makes its objects durable, and empties it. The server calls this when it starts and every
    /// half minute.
    pub fn tend(self: &Arc<Self>) {
        let (open, broken) = {
            let inner = self.lock();
            (inner.disk.is_some(), inner.broken)
        };
        let done = match (open, broken) {
            (false, _) => self.open(),
            (true, true) => self.mend(),
            (true, false) => self.empty(),
        };
        let mut inner = self.lock();
        match done {
            Ok(()) if !inner.broken => inner.all_is_well(),
            Ok(()) => {}
            Err(error) => inner.complain(format!("{error:#}")),
        }
    }

    fn open(&self) -> Result<()> {
        let disk = LogFile::open(&self.path, self.half, &self.gateways)?;
        let cannot = || format!("cannot use {}", self.path.display());
        replay::recover(&disk, self.half, &self.gateways).with_context(cannot)?;
        disk.allocate().with_context(cannot)?;
        let mut inner = self.lock();
        inner.halves = Default::default();
        inner.disk = Some(Arc::new(disk));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic under this lock leaves no half-made change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, inner: MutexGuard<'a, Inner>) -> MutexGuard<'a, Inner> {
        self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps servers from the log until the file is closed. `None` if no server ever made one.
pub(super) fn lock(store: &Path) -> Result<Option<File>> {
    let path = store.join(NAME);
    let file = match files::read_write(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.with_context(|| format!("cannot open {}", path.display()))?,
    };
    lock::take(&file, &path, lock::GLANCE)?;
    Ok(Some(file))
}

/// Replays the log after a power failure if no server holds it, since a command may be the first to
/// read the state. Costs two small reads if there is nothing to do.
pub(super) fn recover_left_over(store: &Path) {
    let (path, gateways) = (store.join(NAME), store.join("gateways"));
    // A file that this user cannot write is left to the server.
    let Ok(Some(disk)) = LogFile::left_over(&path, HALF, &gateways) else { return };
    match replay::recover(&disk, HALF, &gateways) {
        Ok(0) => {}
        Ok(written) => tracing::info!("wrote {written} events from {} again", path.display()),
        Err(error) => {
            tracing::warn!("the last events may be missing: {}: {error:#}", path.display());
        }
    }
}

#[cfg(test)]
mod tests;
