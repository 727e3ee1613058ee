//! Volumes: directories of the containers that outlive a boot, on the drive. One of them may mirror
//! the gateway's bucket: it is pulled before the containers start, and pushed while they run and at
//! the end. Touches drive and network.
//!
//! Changes are found by looking at all names every few seconds. The kernel could tell them
//! (inotify), but it drops events when too many come, needs a watch for each directory, and says
//! nothing about memory-mapped files; so the look would be needed all the same. For thousands of
//! files it takes milliseconds.

mod bucket;
mod copy;
mod fscrypt;
mod key;
mod place;
mod plan;
mod tree;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;
use std::time::Instant;

pub use self::bucket::Access;
pub use self::bucket::Bucket;
use self::copy::Copy;
use self::copy::Pulled;
use self::copy::Pushed;
use self::place::place;
use self::plan::Terms;
use crate::backoff::Backoff;
use crate::foreign::Foreign;
use crate::profile::agent::Pull;
use crate::profile::agent::Push;
use crate::profile::agent::Volume as Description;
use crate::profile::report::Step;

/// Time between two looks at the volumes.
const LOOK: Duration = Duration::from_secs(5);

/// Waits after pushes that failed.
const AFTER_FAILURE: Backoff = Backoff::new(LOOK, Duration::from_secs(300));

/// Names that are said of many.
const NAMED: usize = 3;

/// The volumes of a boot.
pub struct Volumes {
    volumes: BTreeMap<String, Mutex<Volume>>,
    bucket: Option<Bucket>,
}

struct Volume {
    description: Description,
    copy: Copy,
    /// True if the bucket was pulled before the containers started.
    pulled: bool,
    failures: u32,
    next: Instant,
    /// The last trouble that was told: the same trouble is not told again.
    told: Option<String>,
}

/// Directories that volumes can be in.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// On the drive; in memory if there is none.
    pub drive: &'a Path,
    /// In memory, for a volume that cannot be on the drive as it should.
    pub memory: &'a Path,
}

impl Volumes {
    /// Makes all volumes ready, and tells of each. `secret` gives the lines of the boot's secrets.
    /// A volume that cannot be pulled is its last copy; one that cannot be encrypted is in memory.
    pub fn prepare(
        places: Places<'_>,
        described: &BTreeMap<String, Description>,
        secret: &dyn Fn(&str) -> Option<String>,
        bucket: Option<Bucket>,
        tell: &dyn Fn(Step),
    ) -> std::io::Result<Self> {
        let mut volumes = BTreeMap::new();
        for (name, description) in described {
            let (home, mut trouble) = place(places, name, description.encrypt.as_deref(), secret)?;
            let mut copy = Copy::open(&home)?;
            let (mut kind, mut pulled) = ("local", false);
            if description.bucket && description.pull == Pull::Start {
                let brought = match &bucket {
                    Some(bucket) => copy
                        .pull(bucket, description.delete_remote)
                        .map_err(|error| format!("not pulled: {error}")),
                    None => Err("the boot's secrets name no bucket".to_owned()),
                };
                match brought {
                    Ok(brought) => {
                        let Pulled { fetched, removed, .. } = brought;
                        tracing::info!(volume = %name, fetched, removed, "pulled from the bucket");
                        (kind, pulled) = ("pulled", true);
                        trouble = trouble.or_else(|| {
                            several("changed here and in the bucket, set aside", &brought.aside)
                                .or_else(|| several("no files' names", &brought.strange))
                        });
                    }
                    Err(error) => {
                        kind = if copy.complete { "last-copy" } else { "local" };
                        trouble = Some(error);
                    }
                }
            }
            tell(Step::Volume { name: name.clone(), kind: kind.to_owned(), trouble });
            let description = description.clone();
            let (failures, next, told) = (0, Instant::now(), None);
            let volume = Volume { description, copy, pulled, failures, next, told };
            volumes.insert(name.clone(), Mutex::new(volume));
        }
        Ok(Self { volumes, bucket })
    }

    /// The directory of a volume, for its containers.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.volumes.get(name).map(|volume| lock(volume).copy.path())
    }

    /// Pushes changes until `stop` says something or is gone. Runs on a thread of its own.
    pub fn push_loop(&self, stop: &Receiver<()>, tell: &dyn Fn(Step)) {
        while stop.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            self.push_changes(tell);
        }
    }

    /// Pushes what has changed and is not being written.
    pub fn push_changes(&self, tell: &dyn Fn(Step)) {
        self.push(tell, false, None, |push| push == Push::Changes);
    }

    /// Pushes everything, once the containers have ended; takes no longer than `limit` and one
    /// request.
    pub fn finish(&self, limit: Duration, tell: &dyn Fn(Step)) {
        let until = Instant::now() + limit;
        self.push(tell, true, Some(until), |push| push != Push::Never);
    }

    fn push(
        &self,
        tell: &dyn Fn(Step),
        last: bool,
        until: Option<Instant>,
        which: impl Fn(Push) -> bool,
    ) {
        let Some(bucket) = &self.bucket else { return };
        for (name, volume) in &self.volumes {
            let mut volume = lock(volume);
            let due = last || Instant::now() >= volume.next;
            if volume.description.bucket && which(volume.description.push) && due {
                volume.push(name, bucket, last, until, tell);
            }
        }
    }
}

impl Volume {
    fn push(
        &mut self,
        name: &str,
        bucket: &Bucket,
        last: bool,
        until: Option<Instant>,
        tell: &dyn Fn(Step),
    ) {
        let terms = Terms {
            delete_remote: self.description.delete_remote,
            overwrite: self.description.pull == Pull::Never,
        };
        // A volume that is never pulled is compared with nothing.
        let pulled = self.pulled || terms.overwrite;
        let pushed = self.copy.push(bucket, terms, pulled, last, until);
        let failed = match &pushed {
            Ok(pushed) => !pushed.failed.is_empty(),
            Err(_) => true,
        };
        self.failures = if failed { self.failures.saturating_add(1) } else { 0 };
        if failed {
            let wait = AFTER_FAILURE.wait(self.failures - 1, None, crate::backoff::jitter());
            self.next = Instant::now() + wait;
        }
        let trouble = match pushed {
            Ok(Pushed { sent, deleted, both, failed, skipped }) => {
                if sent + deleted > 0 {
                    tracing::info!(volume = name, sent, deleted, "pushed to the bucket");
                }
                several("not pushed", &failed)
                    .or_else(|| several("not pushed, changed in the bucket as well", &both))
                    .or_else(|| several("not mirrored", &skipped))
            }
            Err(error) => Some(format!("not pushed: {error}")),
        };
        if trouble.is_some() && trouble != self.told {
            let what = format!("volume {name}: {}", trouble.as_deref().unwrap_or_default());
            tell(Step::Trouble { what: Foreign::new(&what).as_str().to_owned() });
        }
        self.told = trouble;
    }
}

fn lock(volume: &Mutex<Volume>) -> MutexGuard<'_, Volume> {
    volume.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first of them, and how many there are; `None` for none.
fn several(what: &str, all: &[impl std::fmt::Display]) -> Option<String> {
    let first: Vec<_> = all.iter().take(NAMED).map(ToString::to_string).collect();
    let more = all.len().saturating_sub(NAMED);
    match (first.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(format!("{what}: {}", first.join(", "))),
        (false, more) => Some(format!("{what}: {} and {more} more", first.join(", "))),
    }
}
