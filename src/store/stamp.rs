//! Stamps of files, which show whether a file has changed since it was read. Reads file metadata
//! and the clock.

use std::collections::HashMap;
use std::fs;
use std::hash::Hash;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use cap_std::fs::MetadataExt;

/// Two changes within one tick of the kernel's clock leave the same times. A tick lasts 10 ms at
/// most (`CONFIG_HZ=100`), and five of them where the hypervisor holds up the processor that ticks.
const TICKS: Duration = Duration::from_millis(100);

/// The same where a file system keeps whole seconds, or two of them: ext4 with inodes of 128 bytes,
/// FAT.
const COARSE: Duration = Duration::from_secs(3);

/// Metadata that changes whenever a file is written or replaced, or the names in a directory
/// change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The stamp of a file that was found below an open directory.
impl From<&cap_std::fs::Metadata> for Stamp {
    fn from(facts: &cap_std::fs::Metadata) -> Self {
        Self {
            device: facts.dev(),
            inode: facts.ino(),
            size: facts.len(),
            modified: (facts.mtime(), facts.mtime_nsec()),
            changed: (facts.ctime(), facts.ctime_nsec()),
        }
    }
}

impl Stamp {
    /// The stamp from a file's metadata.
    pub fn new(facts: &fs::Metadata) -> Self {
        Self::from(&cap_std::fs::Metadata::from_just_metadata(facts.clone()))
    }

    /// The stamp of the file that is at `path` now. One system call.
    pub fn read(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|facts| Self::new(&facts))
    }

    /// Size in bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Says whether the last change was long enough before `now` that any later one shows. A change
    /// in the future never is.
    pub fn is_settled(&self, now: SystemTime) -> bool {
        let (seconds, nanos) = self.changed;
        let (Ok(seconds), Ok(nanos)) = (seconds.try_into(), nanos.try_into()) else { return false };
        let changed = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
        let whole = nanos == 0 && self.modified.1 == 0;
        let needed = if whole { COARSE } else { TICKS };
        now.duration_since(changed).is_ok_and(|age| age >= needed)
    }
}

/// Longest trust in a stamp, so that no file system whose times are wrong, or come from a cache, has
/// the last word.
const TRUSTED: Duration = Duration::from_secs(30);

/// The stamp of a file when it was read.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    stamp: Stamp,
    at: Instant,
}

impl Seen {
    /// Notes a stamp that was taken before the file was read, at `now` or later. `None` for a file
    /// that was changed just before: it could change again unnoticed.
    pub fn new(stamp: Stamp, now: SystemTime) -> Option<Self> {
        stamp.is_settled(now).then(|| Self { stamp, at: Instant::now() })
    }

    /// Says whether a file that has this stamp now still is what was read.
    pub fn is_still(&self, now: &Stamp) -> bool {
        self.stamp == *now && self.at.elapsed() < TRUSTED
    }
}

/// Cache of parsed files; an entry is valid while [`Seen::is_still`] says so.
#[derive(Debug)]
pub struct Memo<K, V> {
    known: Mutex<HashMap<K, (Seen, V)>>,
    most: usize,
}

impl<K: Eq + Hash, V: Clone> Memo<K, V> {
    /// Holds up to `most` values.
    pub fn new(most: usize) -> Self {
        Self { known: Mutex::default(), most }
    }

    /// The cached value for `key`, and what its file was.
    pub fn get(&self, key: &K) -> Option<(Seen, V)> {
        self.lock().get(key).cloned()
    }

    /// Caches a value that was read from a file, if it can be: see [`Seen::new`].
    pub fn keep(&self, key: K, stamp: Stamp, value: V, now: SystemTime) {
        let mut known = self.lock();
        let Some(seen) = Seen::new(stamp, now) else {
            known.remove(&key);
            return;
        };
        if known.len() >= self.most && !known.contains_key(&key) {
            known.clear();
        }
        known.insert(key, (seen, value));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, (Seen, V)>> {
        // The code under this lock cannot panic.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_a_moment_ago_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "one").unwrap();
        let stamp = Stamp::read(&path).unwrap();
        let now = SystemTime::now();
        assert!(!stamp.is_settled(now - Duration::from_secs(3600)));
        assert!(stamp.is_settled(now + Duration::from_secs(1)));
        let memo = Memo::<&str, u8>::new(2);
        memo.keep("a", stamp, 1, now - Duration::from_secs(3600));
        assert!(memo.get(&"a").is_none());
        memo.keep("a", stamp, 1, now + Duration::from_secs(1));
        let (seen, value) = memo.get(&"a").unwrap();
        assert!(value == 1 && seen.is_still(&stamp));
        fs::write(&path, "three").unwrap();
        assert!(!seen.is_still(&Stamp::read(&path).unwrap()));
        // However little it seems to have changed.
        let Some(at) = seen.at.checked_sub(TRUSTED) else { return };
        assert!(!Seen { at, ..seen }.is_still(&stamp));
        // It never holds more than its limit.
        for key in ["b", "c", "d"] {
            memo.keep(key, stamp, 1, now + Duration::from_secs(1));
        }
        assert!(memo.lock().len() <= 2);
    }

    /// A generation that was published within the second of a listing used to stay unseen.
    #[test]
    fn times_of_whole_seconds_are_trusted_late() {
        let at = |nanos| Stamp {
            device: 1,
            inode: 1,
            size: 1,
            modified: (1000, nanos),
            changed: (1000, nanos),
        };
        let after =
            |millis: u64| SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000 + millis);
        for (nanos, millis, settled) in
            [(0, 999, false), (0, 3000, true), (5, 50, false), (5, 200, true)]
        {
            assert_eq!(at(nanos).is_settled(after(millis)), settled, "{nanos} {millis}");
        }
    }

    #[test]
    fn a_directory_changes_with_the_names_in_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "").unwrap();
        let before = Stamp::read(dir.path()).unwrap();
        fs::write(dir.path().join("a"), "longer").unwrap();
        assert_eq!(Stamp::read(dir.path()).unwrap(), before);
        std::thread::sleep(TICKS);
        fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
        assert_ne!(Stamp::read(dir.path()).unwrap(), before);
    }
}
