//! Acts on disk, `STATE/store/acts/UUIDv7.json`: what was done that no event of a gateway tells.
//!
//! They decide nothing, so a failure to write one is reported and stops nothing, and the oldest go
//! when there are too many. Their names and bytes are the same in a shared store.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use super::State;
use super::files;
use super::layout;
use super::objects;
use super::objects::to_bytes;
use crate::fleet::Act;
use crate::fleet::EventId;
use crate::fleet::act::FORMAT;
use crate::fleet::format;
use crate::fleet::unix_millis;

/// The number of acts that are kept, of the whole fleet: some years of a large one. They are small.
pub const KEPT: usize = 4096;

/// Acts above [`KEPT`] before the oldest are removed, so that not every command does it.
const SLACK: usize = 64;

/// Longest act, in bytes. This program writes far shorter ones.
const LONGEST: usize = 64 * 1024;

/// All acts.
#[derive(Clone, Debug)]
pub struct Acts {
    dir: PathBuf,
}

/// The readable acts, and the errors of the others.
#[derive(Debug, Default)]
pub struct ReadActs {
    pub acts: BTreeMap<EventId, Act>,
    pub damaged: Vec<anyhow::Error>,
}

impl Acts {
    /// The acts of `state`.
    pub fn new(state: &State) -> Self {
        Self { dir: state.store_dir().join(layout::ACTS) }
    }

    /// Writes an act. What it tells of was done already, so a failure is only reported.
    pub fn note(&self, act: &Act) {
        if let Err(error) = self.append(act) {
            tracing::warn!("it was done, but `farmgate log` will not show it: {error:#}");
        }
    }

    /// Writes an act, under a name that is later than that of all others.
    pub fn append(&self, act: &Act) -> Result<EventId> {
        files::create_dir(&self.dir, layout::PRIVATE_DIR)?;
        let names = self.names()?;
        let id = EventId::after(names.last().copied(), unix_millis(act.at));
        self.write(id, &to_bytes(act)?)?;
        if names.len() >= KEPT + SLACK {
            let too_many = names.len() + 1 - KEPT;
            self.remove(names.into_iter().take(too_many))?;
        }
        Ok(id)
    }

    /// Takes over an act of another host, byte for byte.
    pub fn take_in(&self, id: EventId, bytes: &[u8]) -> Result<()> {
        ensure!(bytes.len() <= LONGEST, "act {id} has {} bytes", bytes.len());
        // One of a newer version is kept as it is.
        if let Err(error) = parse(&id, bytes)
            && !error.is::<format::Newer>()
        {
            return Err(error);
        }
        files::create_dir(&self.dir, layout::PRIVATE_DIR)?;
        self.write(id, bytes)
    }

    /// The names of all acts.
    pub fn names(&self) -> Result<BTreeSet<EventId>> {
        objects::ids(&self.dir)
    }

    /// The bytes of an act; `None` if it no longer exists.
    pub fn bytes(&self, id: EventId) -> Result<Option<Vec<u8>>> {
        let path = self.path(id);
        match files::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            bytes => bytes.map(Some).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Reads all acts.
    pub fn read(&self) -> Result<ReadActs> {
        let mut read = ReadActs::default();
        for id in self.names()? {
            let parsed = self.bytes(id).and_then(|bytes| {
                bytes.map(|bytes| parse(&self.path(id).display(), &bytes)).transpose()
            });
            match parsed {
                Ok(Some(act)) => drop(read.acts.insert(id, act)),
                Ok(None) => {}
                Err(error) => read.damaged.push(error),
            }
        }
        Ok(read)
    }

    /// Removes acts.
    pub fn remove(&self, ids: impl IntoIterator<Item = EventId>) -> Result<()> {
        for id in ids {
            let path = self.path(id);
            files::remove_if_there(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }

    fn path(&self, id: EventId) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }

    fn write(&self, id: EventId, bytes: &[u8]) -> Result<()> {
        files::replace(&self.path(id), layout::PRIVATE, |file| file.write_all(bytes))
    }
}

fn parse(place: &dyn std::fmt::Display, bytes: &[u8]) -> Result<Act> {
    let damaged = || format!("{place} is damaged; it can be removed, and the log misses a line");
    format::read(place, bytes, FORMAT, &damaged)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use time::OffsetDateTime;

    use super::*;
    use crate::fleet::What;

    #[test]
    fn acts_are_kept_in_order_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let acts = Acts { dir: dir.path().join("acts") };
        assert!(acts.read().unwrap().acts.is_empty());
        let act = Act::new(What::GatewayAdded, None, OffsetDateTime::UNIX_EPOCH);
        let first = acts.append(&act).unwrap();
        let second = acts.append(&act).unwrap();
        assert!(first < second);
        assert_eq!(acts.read().unwrap().acts.len(), 2);
        for number in 0..(KEPT + SLACK - 2) as u64 {
            let id = EventId::after(Some(second), 1_000_000 + number);
            fs::write(acts.path(id), "{}").unwrap();
        }
        acts.append(&act).unwrap();
        assert_eq!(acts.names().unwrap().len(), KEPT);
        assert!(!acts.names().unwrap().contains(&first));
    }

    #[test]
    fn only_what_is_an_act_is_taken_in() {
        let dir = tempfile::tempdir().unwrap();
        let acts = Acts { dir: dir.path().join("acts") };
        let id = EventId::after(None, 1);
        for wrong in [&b""[..], b"{}", b"[1]", &[b' '; LONGEST + 1]] {
            assert!(acts.take_in(id, wrong).is_err());
        }
        assert!(acts.names().unwrap().is_empty());
        acts.take_in(id, br#"{"format":2,"new":true}"#).unwrap();
        let read = acts.read().unwrap();
        assert_eq!((read.acts.len(), read.damaged.len()), (0, 1));
    }
}
