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
use crate::fleet::Event;
use crate::fleet::EventId;
use crate::fleet::Events;
use crate::fleet::GatewayId;
use crate::fleet::History;
use crate::fleet::Kind;
use crate::fleet::ObjectName;
use crate::fleet::event::FORMAT;
use crate::fleet::pack;
use crate::fleet::unix_millis;

/// So many objects of a gateway are kept before they are packed into one: what a
/// request lists stays small, also for a machine that boots in a circle.
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

/// What could be read of a gateway's events, and why others could not.
#[derive(Debug)]
pub struct Readable {
    /// What the server goes by.
    pub history: History,
    /// What is wrong with the others, one by one.
    pub damaged: Vec<anyhow::Error>,
}

impl Generations {
    /// The generations that `state` holds.
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

    /// The same, for whoever waits so long for other writers of a gateway, and no longer.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The same, with events written by way of `log`.
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

    /// The blobs that assets are kept in.
    pub fn blobs(&self) -> &Blobs {
        &self.public
    }

    /// The blobs that only those with this access read.
    pub fn blobs_of(&self, access: Access) -> &Blobs {
        match access {
            Access::Public => &self.public,
            Access::Private => &self.private,
        }
    }

    /// Everything known of a gateway's generations. An event that cannot be
    /// read is an error: whoever is about to change something must know all.
    pub fn history(&self, gateway: &GatewayId) -> Result<History> {
        Ok(History::fold(&self.events(gateway)?))
    }

    /// The same for who only looks: what cannot be read is left out, as the server does.
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

    /// The same without those that cannot be read.
    pub fn readable_events(&self, gateway: &GatewayId) -> Result<Events> {
        let (objects, _) = self.read(gateway, &Objects::new(), &BTreeSet::new())?;
        Ok(union(&objects))
    }

    pub(super) fn folder(&self, gateway: &GatewayId) -> PathBuf {
        self.dir.join(gateway)
    }

    /// Whether anything was ever recorded of a gateway, and is still there.
    pub fn has_folder(&self, gateway: &GatewayId) -> bool {
        self.dir.join(gateway).is_dir()
    }

    /// Writes one event, later than all others of this gateway that this host knows, so
    /// that names follow cause and effect also where clocks differ. Once this returns,
    /// the event outlasts a power failure.
    pub fn append(&self, gateway: &GatewayId, kind: Kind, now: OffsetDateTime) -> Result<EventId> {
        let dir = self.dir.join(gateway);
        files::create_dir(&dir, 0o700)?;
        // Held by one writer at a time, so that names follow each other. Readers need no
        // lock, other gateways have their own.
        let _lock = files::lock_within(&dir.join("lock"), self.patience)?;
        let names = object_names(&dir)?;
        // The name of a pack is later than those of all events in it.
        let latest = names.iter().map(|name| match name {
            ObjectName::Event(id) | ObjectName::Pack(id) => *id,
        });
        let id = EventId::after(latest.max(), unix_millis(now));
        let object = to_bytes(&Event { format: FORMAT, at: now, kind })?;
        if !self.log.as_ref().is_some_and(|log| log.record(gateway, id, &object)) {
            let name = ObjectName::Event(id);
            write(&dir, name, &object).inspect_err(|_| {
                // It may be there already, and only not be durable. Nobody is told of it.
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

    /// Packs all events that still matter into one object, and deletes the others
    /// once that is safely on disk. Whoever does the same elsewhere does no harm: a
    /// pack loses nothing, and what two packs have in common counts once.
    ///
    /// What is damaged stays beside the pack, for somebody to mend. With an object of a newer
    /// version nothing is done: that one may know better what still matters.
    ///
    /// Whoever calls it holds the lock.
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

    /// Forgets all events of a gateway.
    pub fn remove(&self, gateway: &GatewayId) -> Result<()> {
        let dir = self.dir.join(gateway);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", dir.display()))
            }
            _ => Ok(()),
        }
    }

    /// All objects, of which only those not in `known` or `skip` are read anew, and
    /// for each that cannot be read the reason. An object is never changed, so
    /// what was read once stays true.
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
                        // A pack has just taken its place.
                        Ok(None) => continue 'listing,
                        Err(error) => drop(unreadable.insert(name, error)),
                    }
                }
            }
            return Ok((objects, unreadable));
        }
        bail!("the events in {} vanish while they are read", dir.display())
    }
}

/// All events, each once.
pub(super) fn union(objects: &Objects) -> Events {
    objects.values().flat_map(|events| events.iter()).map(|(id, e)| (*id, e.clone())).collect()
}
