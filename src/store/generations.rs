//! Reads and writes the events of gateways: `STATE/store/gateways/ID/EVENT.json`, and
//! packs of them: `pack-NAME.json`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use time::OffsetDateTime;

use super::State;
use super::blobs::Access;
use super::blobs::Blobs;
use super::commit_log::CommitLog;
use super::files;
use super::lock;
use super::objects::Unreadable;
use super::objects::object_names;
use super::objects::read_object;
use super::objects::to_bytes;
use super::objects::write;
use crate::fleet::By;
use crate::fleet::Event;
use crate::fleet::EventId;
use crate::fleet::Events;
use crate::fleet::GatewayId;
use crate::fleet::History;
use crate::fleet::Kind;
use crate::fleet::ObjectName;
use crate::fleet::pack;
use crate::fleet::unix_millis;

/// Most objects of a gateway before they are packed into one. So a request lists little, even for a
/// machine in a boot loop.
pub const MOST_OBJECTS: usize = 256;

/// Listings in a row that a compaction may disturb.
const MOST_LISTINGS: usize = 8;

/// Objects by name, each with its events.
pub(super) type Objects = BTreeMap<ObjectName, Arc<Events>>;

/// The generations of all gateways.
#[derive(Clone, Debug)]
pub struct Generations {
    public: Blobs,
    private: Blobs,
    pub(super) dir: PathBuf,
    patience: Duration,
    log: Option<Arc<CommitLog>>,
}

/// The readable events of a gateway, and the errors of the others.
#[derive(Debug)]
pub struct Readable {
    /// The history that the server uses.
    pub history: History,
    /// The errors of the unreadable objects.
    pub damaged: Vec<anyhow::Error>,
}

impl Generations {
    /// The generations in `state`.
    pub fn new(state: &State) -> Self {
        Self::in_store(&state.store_dir())
    }

    pub(super) fn in_store(store: &Path) -> Self {
        Self {
            public: Blobs::new(store, Access::Public),
            private: Blobs::new(store, Access::Private),
            dir: store.join("gateways"),
            patience: lock::PATIENCE,
            log: None,
        }
    }

    /// The same, with another limit on the wait for other writers of a gateway.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The same, with events written through `log`.
    #[must_use]
    pub fn with_log(self, log: Arc<CommitLog>) -> Self {
        Self { log: Some(log), ..self }
    }

    /// See [`CommitLog::tend`].
    pub fn tend_log(&self) {
        if let Some(log) = &self.log {
            log.tend();
        }
    }

    /// The public blobs.
    pub fn blobs(&self) -> &Blobs {
        &self.public
    }

    /// The blobs with this access.
    pub fn blobs_of(&self, access: Access) -> &Blobs {
        match access {
            Access::Public => &self.public,
            Access::Private => &self.private,
        }
    }

    /// The history of a gateway. An unreadable event is an error, since a caller that changes
    /// something must know all events.
    pub fn history(&self, gateway: &GatewayId) -> Result<History> {
        Ok(History::fold(&self.events(gateway)?))
    }

    /// The same for read-only callers: unreadable events are left out, as the server does.
    pub fn readable(&self, gateway: &GatewayId) -> Result<Readable> {
        let (objects, unreadable) = self.read(gateway, &Objects::new(), &BTreeSet::new())?;
        Ok(Readable {
            history: History::fold(&union(&objects)),
            damaged: unreadable.into_values().map(|unreadable| unreadable.error).collect(),
        })
    }

    /// All events of a gateway, each once.
    pub fn events(&self, gateway: &GatewayId) -> Result<Events> {
        Ok(union(&self.read_all(gateway)?))
    }

    /// The same without unreadable ones.
    pub fn readable_events(&self, gateway: &GatewayId) -> Result<Events> {
        let (objects, _) = self.read(gateway, &Objects::new(), &BTreeSet::new())?;
        Ok(union(&objects))
    }

    pub(super) fn folder(&self, gateway: &GatewayId) -> PathBuf {
        self.dir.join(gateway)
    }

    /// Says whether the gateway still has any events.
    pub fn has_folder(&self, gateway: &GatewayId) -> bool {
        self.dir.join(gateway).is_dir()
    }

    /// Appends one event. Its id is later than that of all events of this gateway on this host, so
    /// that ids follow cause and effect even if clocks differ. Once this returns, the event
    /// survives a power failure.
    pub fn append(&self, gateway: &GatewayId, kind: Kind, now: OffsetDateTime) -> Result<EventId> {
        self.append_by(gateway, kind, None, now)
    }

    /// The same, with the author.
    pub fn append_by(
        &self,
        gateway: &GatewayId,
        kind: Kind,
        by: Option<&By>,
        now: OffsetDateTime,
    ) -> Result<EventId> {
        let dir = self.dir.join(gateway);
        files::create_dir(&dir, 0o700)?;
        // The lock keeps ids in order. Readers need no lock, and each gateway has its own.
        let _lock = lock::at_within(&dir.join("lock"), self.patience)?;
        let names = object_names(&dir)?;
        // The name of a pack is later than the ids of its events.
        let latest = names.iter().map(|name| match name {
            ObjectName::Event(id) | ObjectName::Pack(id) => *id,
        });
        let id = EventId::after(latest.max(), unix_millis(now));
        let object = to_bytes(&Event { format: kind.format(), at: now, by: by.cloned(), kind })?;
        if !self.log.as_ref().is_some_and(|log| log.record(gateway, id, &object)) {
            let name = ObjectName::Event(id);
            write(&dir, name, &object).inspect_err(|_| {
                // The event may exist already without being durable. Nobody gets an answer based on
                // it.
                let _ = files::remove_if_there(&dir.join(name.to_string()));
            })?;
        }
        if names.len() >= MOST_OBJECTS
            && let Err(error) = self.compact(gateway, &dir, now)
        {
            tracing::warn!(gateway_id = %gateway, "events are kept longer than needed: {error:#}");
        }
        Ok(id)
    }

    /// Packs all events that still matter into one object, and deletes the packed objects once the
    /// pack is durable. Another host may do the same at the same time: a pack loses nothing, and an
    /// event in two packs counts once.
    ///
    /// Damaged objects stay beside the pack, for an operator to repair. An object of a newer
    /// version stops the packing: that version may know better what still matters.
    ///
    /// The caller holds the lock.
    pub(super) fn compact(
        &self,
        gateway: &GatewayId,
        dir: &Path,
        now: OffsetDateTime,
    ) -> Result<Option<ObjectName>> {
        let (objects, unreadable) = self.read(gateway, &Objects::new(), &BTreeSet::new())?;
        if let Some(newer) = unreadable.into_values().find(Unreadable::is_newer) {
            return Err(newer.error);
        }
        if let Some(ObjectName::Pack(_)) = objects.keys().next().filter(|_| objects.len() == 1) {
            return Ok(objects.into_keys().next());
        }
        let events = union(&objects);
        let Some((name, pack)) = pack(&events, now) else { return Ok(None) };
        write(dir, name, &to_bytes(&pack)?)?;
        for name in objects.keys() {
            fs::remove_file(dir.join(name.to_string()))?;
        }
        Ok(Some(name))
    }

    fn read_all(&self, gateway: &GatewayId) -> Result<Objects> {
        let (objects, unreadable) = self.read(gateway, &Objects::new(), &BTreeSet::new())?;
        match unreadable.into_values().next() {
            Some(unreadable) => Err(unreadable.error),
            None => Ok(objects),
        }
    }

    /// Deletes all events of a gateway.
    pub fn remove(&self, gateway: &GatewayId) -> Result<()> {
        let dir = self.dir.join(gateway);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", dir.display()))
            }
            _ => Ok(()),
        }
    }

    /// All objects, and the errors of unreadable ones. Only objects in neither `known` nor `skip`
    /// are read: an object never changes.
    pub(super) fn read(
        &self,
        gateway: &GatewayId,
        known: &Objects,
        skip: &BTreeSet<ObjectName>,
    ) -> Result<(Objects, BTreeMap<ObjectName, Unreadable>)> {
        let dir = self.dir.join(gateway);
        'listing: for _ in 0..MOST_LISTINGS {
            let mut objects = Objects::new();
            let mut unreadable = BTreeMap::new();
            for name in object_names(&dir)? {
                if let Some(events) = known.get(&name) {
                    objects.insert(name, events.clone());
                } else if !skip.contains(&name) {
                    match read_object(&dir, name) {
                        Ok(Some(object)) => drop(objects.insert(name, object.events)),
                        // A pack has just replaced it.
                        Ok(None) => continue 'listing,
                        Err(error) => drop(unreadable.insert(name, error)),
                    }
                }
            }
            return Ok((objects, unreadable));
        }
        bail!("the events in {} keep changing while they are read", dir.display())
    }
}

/// All events, each once.
pub(super) fn union(objects: &Objects) -> Events {
    objects.values().flat_map(|events| events.iter()).map(|(id, e)| (*id, e.clone())).collect()
}
