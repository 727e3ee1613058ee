//! The objects of one gateway on this host's disk, for the exchange with a shared store. They have
//! the same bytes and names there. They are listed once, and each is read at most once.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use time::OffsetDateTime;

use super::files;
use super::generations::Generations;
use super::generations::MOST_OBJECTS;
use super::lock;
use super::objects::Object;
use super::objects::Unreadable;
use super::objects::object_names;
use super::objects::read_object;
use crate::fleet::Events;
use crate::fleet::GatewayId;
use crate::fleet::ObjectName;
use crate::fleet::REMEMBERED;
use crate::fleet::relevant;

/// Compactions in a row that may disturb a reader.
const MAX_LISTINGS: usize = 8;

/// Objects of a gateway, sorted by whether the shared store needs them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// The shared store has their events in other objects, or they no longer decide anything.
    pub covered: BTreeSet<ObjectName>,
    /// All others.
    pub new: BTreeSet<ObjectName>,
}

impl Generations {
    /// The ids of all gateways that have events.
    pub fn gateways(&self) -> Result<BTreeSet<GatewayId>> {
        let read = || -> io::Result<BTreeSet<GatewayId>> {
            let names = fs::read_dir(&self.dir)?.map(|entry| Ok(entry?.file_name().into_string()));
            let names: Vec<_> = names.collect::<io::Result<_>>()?;
            Ok(names.into_iter().flatten().filter_map(|name| name.parse().ok()).collect())
        };
        read().with_context(|| format!("cannot read {}", self.dir.display()))
    }

    /// Lists the objects of a gateway.
    pub fn objects(&self, gateway: &GatewayId) -> Result<BTreeSet<ObjectName>> {
        object_names(&self.dir.join(gateway))
    }

    /// Lists the objects of a gateway, to be read when they are needed.
    pub fn local_objects(&self, gateway: &GatewayId) -> Result<LocalObjects> {
        let dir = self.dir.join(gateway);
        let names = object_names(&dir)?;
        Ok(LocalObjects { dir, names, ..LocalObjects::default() })
    }

    /// Packs the objects of a gateway into one, and returns its name.
    pub fn condense(&self, gateway: &GatewayId, now: OffsetDateTime) -> Result<Option<ObjectName>> {
        let dir = self.dir.join(gateway);
        let _lock = lock::at(&dir.join("lock"))?;
        let names = object_names(&dir)?;
        match names.first() {
            Some(pack @ ObjectName::Pack(_)) if names.len() == 1 => Ok(Some(*pack)),
            _ => self.compact(gateway, &dir, now),
        }
    }
}

/// The objects of one gateway, as they were when they were listed.
#[derive(Debug, Default)]
pub struct LocalObjects {
    dir: PathBuf,
    names: BTreeSet<ObjectName>,
    read: BTreeMap<ObjectName, Object>,
    unreadable: BTreeMap<ObjectName, Unreadable>,
}

impl LocalObjects {
    /// The names of all objects.
    pub fn names(&self) -> &BTreeSet<ObjectName> {
        &self.names
    }

    /// Says whether there are more than a request should have to list.
    pub fn are_too_many(&self) -> bool {
        self.names.len() > MOST_OBJECTS
    }

    /// An object, if it was read.
    pub fn get(&self, name: ObjectName) -> Option<&Object> {
        self.read.get(&name)
    }

    /// The error of an object that could not be read.
    pub fn why_unreadable(&self, name: ObjectName) -> Option<&anyhow::Error> {
        self.unreadable.get(&name).map(|unreadable| &unreadable.error)
    }

    /// All events that can be read, each once.
    pub fn events(&mut self) -> Result<Events> {
        self.load()?;
        let all = self.read.values().flat_map(|object| object.events.iter());
        Ok(all.map(|(id, event)| (*id, event.clone())).collect())
    }

    /// Damaged objects. An object of a newer version is not damaged.
    pub fn damaged(&mut self) -> Result<BTreeSet<ObjectName>> {
        self.load()?;
        let damaged = self.unreadable.iter().filter(|(_, why)| why.lasting && !why.is_newer());
        Ok(damaged.map(|(name, _)| *name).collect())
    }

    /// Compares the objects with those whose names are `known` in the shared store, by their
    /// events. Reads all of them.
    pub fn news(&mut self, known: &BTreeSet<ObjectName>) -> Result<News> {
        if self.names.is_subset(known) {
            return Ok(News { covered: self.names.clone(), new: BTreeSet::new() });
        }
        let decisive = relevant(&self.events()?, REMEMBERED);
        let known_events = self.read.iter().filter(|(name, _)| known.contains(name));
        let known_events: BTreeSet<_> =
            known_events.flat_map(|(_, object)| object.events.keys()).collect();
        let (new, covered) = self.names.iter().partition(|name| {
            let says_more = |object: &Object| {
                object
                    .events
                    .keys()
                    .any(|event| decisive.contains(event) && !known_events.contains(event))
            };
            // The events of an unreadable object are unknown, so it may be new.
            !known.contains(name) && self.read.get(name).is_none_or(says_more)
        });
        Ok(News { covered, new })
    }

    /// Takes objects that are not in `known` as new, without comparing events. Reads only them.
    pub fn news_by_name(&mut self, known: &BTreeSet<ObjectName>) -> Result<News> {
        self.load_those(|name| !known.contains(&name))?;
        let (covered, new) = self.names.iter().partition(|name| known.contains(name));
        Ok(News { covered, new })
    }

    /// Adds an object of another host, which was read without an error. The order of additions
    /// makes no difference.
    pub fn take_in(&mut self, name: ObjectName, object: Object) -> Result<()> {
        files::create_dir(&self.dir, 0o700)?;
        files::replace(&self.dir.join(name.to_string()), 0o600, |file| {
            file.write_all(&object.bytes)
        })?;
        self.names.insert(name);
        self.unreadable.remove(&name);
        self.read.insert(name, object);
        Ok(())
    }

    /// Lists the objects again after a compaction. Objects that still exist need no second read.
    pub fn relist(&mut self) -> Result<()> {
        self.names = object_names(&self.dir)?;
        self.read.retain(|name, _| self.names.contains(name));
        self.unreadable.retain(|name, _| self.names.contains(name));
        Ok(())
    }

    fn load(&mut self) -> Result<()> {
        self.load_those(|_| true)
    }

    /// Reads the objects that `wanted` picks and that were not read yet.
    fn load_those(&mut self, wanted: impl Fn(ObjectName) -> bool) -> Result<()> {
        'listing: for _ in 0..MAX_LISTINGS {
            for name in self.names.clone() {
                let known = self.read.contains_key(&name) || self.unreadable.contains_key(&name);
                if known || !wanted(name) {
                    continue;
                }
                match read_object(&self.dir, name) {
                    Ok(Some(object)) => drop(self.read.insert(name, object)),
                    // A pack has just replaced it.
                    Ok(None) => {
                        self.relist()?;
                        continue 'listing;
                    }
                    Err(error) => drop(self.unreadable.insert(name, error)),
                }
            }
            return Ok(());
        }
        bail!("the events in {} keep changing while they are read", self.dir.display())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fleet::Event;
    use crate::fleet::EventId;
    use crate::fleet::Kind;
    use crate::fleet::event::FORMAT;

    fn write(dir: &std::path::Path, name: ObjectName, event: &Event) {
        fs::write(dir.join(name.to_string()), serde_json::to_vec(event).unwrap()).unwrap();
    }

    /// The names of boots and acknowledgements, written to `dir`.
    fn written(dir: &std::path::Path, kinds: &[Option<u8>]) -> Vec<ObjectName> {
        let (mut last, mut names) = (None, Vec::new());
        let mut ids: Vec<EventId> = Vec::new();
        for kind in kinds {
            let id = EventId::after(last, 1);
            let kind = match kind.and_then(|boot| ids.get(usize::from(boot))) {
                Some(boot) => Kind::Acknowledged { boot: *boot },
                None => Kind::Booted { generation: id, certificate: None },
            };
            let event = Event { format: FORMAT, at: OffsetDateTime::UNIX_EPOCH, by: None, kind };
            write(dir, ObjectName::Event(id), &event);
            (last, names) = (Some(id), [names, vec![ObjectName::Event(id)]].concat());
            ids.push(id);
        }
        names
    }

    fn listed(dir: &std::path::Path) -> LocalObjects {
        let names = object_names(dir).unwrap();
        LocalObjects { dir: dir.to_owned(), names, ..LocalObjects::default() }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Comparing by name may deliver more than needed, and never less; it reads only what it
        /// delivers.
        #[test]
        fn news_by_name_miss_nothing(
            kinds in proptest::collection::vec(proptest::option::of(0u8..8), 1..12), old in 0usize..12,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let names = written(dir.path(), &kinds);
            let known: BTreeSet<_> = names.iter().take(old).copied().collect();
            let (mut by_event, mut by_name) = (listed(dir.path()), listed(dir.path()));
            let needed = by_event.news(&known).unwrap();
            let found = by_name.news_by_name(&known).unwrap();
            prop_assert!(needed.new.is_subset(&found.new));
            prop_assert!(found.new.is_disjoint(&known));
            for name in names {
                prop_assert_eq!(by_name.get(name).is_some(), found.new.contains(&name));
            }
        }
    }

    #[test]
    fn what_a_known_pack_says_is_covered_and_what_it_does_not_say_is_new() {
        let dir = tempfile::tempdir().unwrap();
        let names = written(dir.path(), &[None, None]);
        let mut local = listed(dir.path());
        let events = local.events().unwrap();
        let (pack_name, pack) = crate::fleet::pack(&events, OffsetDateTime::UNIX_EPOCH).unwrap();
        let bytes = serde_json::to_vec(&pack).unwrap();
        let later = ObjectName::Event(EventId::after(None, 1_000_000));
        let at = OffsetDateTime::UNIX_EPOCH;
        write(dir.path(), later, &Event { format: FORMAT, at, by: None, kind: Kind::Released });
        local = listed(dir.path());
        local.take_in(pack_name, Object { bytes, events: events.into() }).unwrap();
        let news = local.news(&BTreeSet::from([pack_name])).unwrap();
        assert_eq!(news.new, BTreeSet::from([later]));
        assert!(names.iter().all(|name| news.covered.contains(name)));
    }

    #[test]
    fn objects_that_a_compaction_replaced_are_listed_anew() {
        let dir = tempfile::tempdir().unwrap();
        let names = written(dir.path(), &[None, None]);
        let mut local = listed(dir.path());
        fs::remove_file(dir.path().join(names[0].to_string())).unwrap();
        assert_eq!(local.events().unwrap().len(), 1);
        assert_eq!(local.names(), &BTreeSet::from([names[1]]));
    }
}
