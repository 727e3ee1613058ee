//! Locks between processes, by `flock`. Every wait has a limit: a command that was stopped by
//! Ctrl-Z must not block all other commands, and the server, forever. Reads the clock.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::files;
use super::owner::as_caller;
use crate::process;
use crate::process::Holder;

/// Longest wait of a command for a lock. Every operation under a lock is short.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Long enough for a command that only reads to end, and for the holder to be looked for.
pub(super) const GLANCE: Duration = Duration::from_secs(1);

/// After this time, a waiting command names the holder.
const SILENCE: Duration = Duration::from_secs(2);

/// Pauses between attempts: the first, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Another process held the lock for the whole wait.
#[derive(Clone, Debug)]
pub struct Busy {
    path: PathBuf,
    /// The holder, if it is known.
    holder: Option<Holder>,
}

impl Busy {
    /// Says whether this is the cause of an error.
    pub fn is_cause_of(error: &anyhow::Error) -> bool {
        error.chain().any(|cause| cause.is::<Self>())
    }
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.holder {
            Some(holder) => write!(f, "{path} is locked by {holder}"),
            None => write!(f, "{path} is locked by another process (`fuser -v {path}`, as root)"),
        }
    }
}

impl std::error::Error for Busy {}

/// Locks `file`, which is open at `path`, as soon as nobody else holds its lock; gives up with
/// [`Busy`] after `patience`. With no patience it tries once, and does not look for the holder.
pub(super) fn take(file: &File, path: &Path, patience: Duration) -> Result<()> {
    let began = Instant::now();
    let (mut pause, mut silent) = (PAUSE.0, true);
    loop {
        // Computed before the attempt: a process that was stopped all that time still gets one
        // more.
        let left = patience.saturating_sub(began.elapsed());
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => continue,
            Err(Errno::WOULDBLOCK) => {}
            Err(error) => {
                return Err(io::Error::from(error))
                    .with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        let busy = || {
            // Root sees more of other processes than the state's owner does.
            let seen = || as_caller(|| process::of_lock(file));
            let holder = if patience.is_zero() { None } else { seen() };
            Busy { path: path.to_path_buf(), holder }
        };
        if left.is_zero() {
            return Err(busy().into());
        }
        if silent && began.elapsed() >= SILENCE {
            silent = false;
            tracing::info!("waiting: {}", busy());
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Takes a shared lock of `file`, if the file system has locks. Fails with [`Busy`] if somebody has it
/// alone.
pub(super) fn share(file: &File, path: &Path) -> Result<()> {
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockShared) {
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => {
                let holder = as_caller(|| process::of_lock(file));
                return Err(Busy { path: path.to_path_buf(), holder }.into());
            }
            Ok(()) | Err(_) => return Ok(()),
        }
    }
}

/// A lock on a file, held until dropped.
#[must_use]
pub struct Lock {
    _file: File,
}

/// Takes the lock at `path`; gives up after the patience of commands.
pub fn at(path: &Path) -> Result<Lock> {
    at_within(path, PATIENCE)
}

/// Takes the lock at `path`; gives up with [`Busy`] after `patience`.
pub fn at_within(path: &Path, patience: Duration) -> Result<Lock> {
    let file = files::append(path).with_context(|| format!("cannot lock {}", path.display()))?;
    take(&file, path, patience)?;
    Ok(Lock { _file: file })
}

/// Takes the lock at `path` if nobody else holds it.
pub fn try_at(path: &Path) -> Result<Option<Lock>> {
    match at_within(path, Duration::ZERO) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if Busy::is_cause_of(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Only the holder changes the state, until this is dropped. A function that must not run without
/// the lock takes a reference to it.
#[must_use]
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateLock {
    /// Locks `file`, which is open at `path`, as [`take`] does.
    pub(super) fn take(file: File, path: &Path) -> Result<Self> {
        take(&file, path, PATIENCE)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits used to have no limit, and no message named the holder.
    #[test]
    fn whoever_waits_in_vain_is_told_for_whom() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = at(&path).unwrap();
        for (patience, holder) in [
            (Duration::ZERO, "another process".to_owned()),
            (Duration::from_millis(5), format!("process {}", std::process::id())),
        ] {
            let error = at_within(&path, patience).err().unwrap();
            assert!(Busy::is_cause_of(&error), "{error:#}");
            assert!(format!("{error:#}").contains(&holder), "{error:#}");
        }
        drop(held);
        drop(at_within(&path, Duration::ZERO).unwrap());
    }

    #[test]
    fn whoever_waits_gets_it_when_it_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = at(&path).unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| at(&path).map(drop));
            drop(held);
            waiting.join().unwrap().unwrap();
        });
    }
}
