//! What other hosts' stores and this one give each other: whole objects, under the names that
//! they have.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::sync::Arc;

use anyhow::Context;
use anyhow::Result;
use time::OffsetDateTime;

use super::files;
use super::generations::Generations;
use super::generations::MOST_OBJECTS;
use super::generations::Objects;
use super::generations::union;
use super::objects::object_names;
use crate::fleet::Events;
use crate::fleet::GatewayId;
use crate::fleet::ObjectName;
use crate::fleet::REMEMBERED;
use crate::fleet::relevant;

/// Objects of a gateway, by whether others know what they say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// They do.
    pub told: BTreeSet<ObjectName>,
    /// They do not.
    pub new: BTreeSet<ObjectName>,
}

impl Generations {
    /// The ids of all gateways that events are kept of.
    pub fn gateways(&self) -> Result<BTreeSet<GatewayId>> {
        let read = || -> io::Result<BTreeSet<GatewayId>> {
            let names = fs::read_dir(&self.dir)?.map(|entry| Ok(entry?.file_name().into_string()));
            let names: Vec<_> = names.collect::<io::Result<_>>()?;
            Ok(names.into_iter().flatten().filter_map(|name| name.parse().ok()).collect())
        };
        read().with_context(|| format!("cannot read {}", self.dir.display()))
    }

    /// Names of all objects of a gateway.
    pub fn objects(&self, gateway: &GatewayId) -> Result<BTreeSet<ObjectName>> {
        object_names(&self.dir.join(gateway))
    }

    /// Which objects are here: those that `known`, or the ones of these that are here, already
    /// tell of, and those that say something new. An event that is in a known pack, or that
    /// decides nothing any more, needs no telling.
    pub fn news(&self, gateway: &GatewayId, known: &BTreeSet<ObjectName>) -> Result<News> {
        let names = self.objects(gateway)?;
        if names.is_subset(known) {
            return Ok(News { told: names, new: BTreeSet::new() });
        }
        let (objects, _) = self.read(gateway, &Objects::new(), &BTreeSet::new())?;
        let told = objects.iter().filter(|(name, _)| known.contains(name));
        let told: BTreeSet<_> = told.flat_map(|(_, events)| events.keys().copied()).collect();
        let decides = relevant(&union(&objects), REMEMBERED);
        let (new, told) = names.into_iter().partition(|name| {
            let says_more = |events: &Arc<Events>| {
                events.keys().any(|event| decides.contains(event) && !told.contains(event))
            };
            // Of one that cannot be read, nobody knows what it says.
            !known.contains(name) && objects.get(name).is_none_or(says_more)
        });
        Ok(News { told, new })
    }

    /// Objects that are damaged. One of a newer version is not.
    pub fn damaged(&self, gateway: &GatewayId) -> Result<BTreeSet<ObjectName>> {
        let (_, unreadable) = self.read(gateway, &Objects::new(), &BTreeSet::new())?;
        let damaged = unreadable.into_iter().filter(|(_, why)| why.lasting && !why.is_newer());
        Ok(damaged.map(|(name, _)| name).collect())
    }

    /// The bytes of an object; `None` if a pack has taken its place.
    pub fn object(&self, gateway: &GatewayId, name: ObjectName) -> Result<Option<Vec<u8>>> {
        let path = self.dir.join(gateway).join(name.to_string());
        match files::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Keeps an object that another host wrote, and that was found to be whole. Whether it
    /// comes before or after others makes no difference.
    pub fn take_in(&self, gateway: &GatewayId, name: ObjectName, bytes: &[u8]) -> Result<()> {
        let dir = self.dir.join(gateway);
        files::create_dir(&dir, 0o700)?;
        files::replace(&dir.join(name.to_string()), 0o600, |file| file.write_all(bytes))
    }

    /// Packs the objects of a gateway into one, and returns its name.
    pub fn condense(&self, gateway: &GatewayId, now: OffsetDateTime) -> Result<Option<ObjectName>> {
        let dir = self.dir.join(gateway);
        let _lock = files::lock(&dir.join("lock"))?;
        let names = object_names(&dir)?;
        match names.first() {
            Some(pack @ ObjectName::Pack(_)) if names.len() == 1 => Ok(Some(*pack)),
            _ => self.compact(gateway, &dir, now),
        }
    }

    /// The same for a gateway that has more objects than a request should have to list.
    pub fn condense_many(&self, gateway: &GatewayId, now: OffsetDateTime) -> Result<()> {
        if self.objects(gateway)?.len() > MOST_OBJECTS {
            self.condense(gateway, now)?;
        }
        Ok(())
    }
}
