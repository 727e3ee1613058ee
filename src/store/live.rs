//! A cache of generations for the server: a gateway's events stay in memory, and its folder is
//! listed again once its names have changed. Reads the disk.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::SystemTime;

use anyhow::Result;
use anyhow::ensure;
use time::OffsetDateTime;

use super::blobs::Access;
use super::blobs::Blobs;
use super::generations::Generations;
use super::generations::Objects;
use super::generations::union;
use super::stamp::Seen;
use super::stamp::Stamp;
use crate::fleet::Event;
use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::fleet::History;
use crate::fleet::Kind;
use crate::fleet::ObjectName;

/// Cached histories. A request checks one directory, lists it if its names changed, and reads only
/// the new events.
#[derive(Debug)]
pub struct LiveGenerations {
    generations: Generations,
    cached: Mutex<HashMap<GatewayId, Cached>>,
}

#[derive(Clone, Debug)]
struct Cached {
    snapshot: Arc<Snapshot>,
    /// The folder, if its stamp shows every later change.
    seen: Option<Seen>,
}

#[derive(Debug, Default)]
struct Snapshot {
    objects: Objects,
    unreadable: BTreeSet<ObjectName>,
    history: Arc<History>,
}

impl LiveGenerations {
    /// A cache of `generations`.
    pub fn new(generations: Generations) -> Self {
        Self { generations, cached: Mutex::default() }
    }

    /// The blobs with this access.
    pub fn blobs_of(&self, access: Access) -> &Blobs {
        self.generations.blobs_of(access)
    }

    /// Says whether the gateway still has any events.
    pub fn has_folder(&self, gateway: &GatewayId) -> bool {
        self.generations.has_folder(gateway)
    }

    /// The cached history of a gateway, if its folder is unchanged. Costs one look at the folder,
    /// and reads nothing.
    pub fn history_in_memory(&self, gateway: &GatewayId) -> Option<Arc<History>> {
        let Cached { snapshot, seen } = self.lock().get(gateway).cloned()?;
        let now = Stamp::read(&self.generations.folder(gateway)).ok()?;
        seen?.is_still(&now).then(|| snapshot.history.clone())
    }

    /// The current history of a gateway. An unreadable event is logged once and left out. If the
    /// directory cannot be read, the last known history still holds: that must not stop a boot.
    pub fn history(&self, gateway: &GatewayId) -> Result<Arc<History>> {
        if let Some(history) = self.history_in_memory(gateway) {
            return Ok(history);
        }
        // Taken before the listing, so that a concurrent change shows the next time.
        let (now, stamp) = (SystemTime::now(), Stamp::read(&self.generations.folder(gateway)).ok());
        let last = self.snapshot(gateway);
        if let Some(last) = last.as_ref().filter(|last| !last.objects.is_empty())
            && !self.generations.has_folder(gateway)
        {
            tracing::warn!(gateway_id = %gateway, "the folder of its events is gone; serving what was last seen");
            return Ok(last.history.clone());
        }
        let none = Snapshot::default();
        let known = last.as_deref().unwrap_or(&none);
        let (objects, failed) = match self.generations.read(
            gateway,
            &known.objects,
            &known.unreadable,
        ) {
            Ok(read) => read,
            Err(error) => {
                let last = last.ok_or(error)?;
                tracing::warn!(gateway_id = %gateway, "events cannot be read; serving what was last seen");
                return Ok(last.history.clone());
            }
        };
        let seen = stamp.filter(|_| failed.is_empty()).and_then(|stamp| Seen::new(stamp, now));
        if let Some(last) = &last
            && last.objects.keys().eq(objects.keys())
            && failed.is_empty()
        {
            let cached = Cached { snapshot: last.clone(), seen };
            self.lock().insert(gateway.clone(), cached);
            return Ok(last.history.clone());
        }
        for unreadable in failed.values() {
            tracing::error!(gateway_id = %gateway, "left out an event: {:#}", unreadable.error);
        }
        let lasting = failed.into_iter().filter(|(_, unreadable)| unreadable.lasting);
        let unreadable =
            known.unreadable.iter().copied().chain(lasting.map(|(id, _)| id)).collect();
        let history = Arc::new(History::fold(&union(&objects)));
        let snapshot = Arc::new(Snapshot { objects, unreadable, history: history.clone() });
        self.lock().insert(gateway.clone(), Cached { snapshot, seen });
        Ok(history)
    }

    /// See [`Generations::append`]. Fails if the folder of the events is gone: a new folder with
    /// only this event would replace the last known history.
    pub fn append(&self, gateway: &GatewayId, kind: Kind, now: OffsetDateTime) -> Result<EventId> {
        let seen = self.snapshot(gateway).is_some_and(|last| !last.objects.is_empty());
        ensure!(
            !seen || self.generations.has_folder(gateway),
            "the folder of the events of {gateway} is gone; restore it from a backup"
        );
        let id = self.generations.append(gateway, kind.clone(), now)?;
        self.remember(gateway, id, Event { format: kind.format(), at: now, by: None, kind });
        Ok(id)
    }

    /// The appended event need not be read again.
    fn remember(&self, gateway: &GatewayId, id: EventId, event: Event) {
        let Some(last) = self.snapshot(gateway) else { return };
        let mut objects = last.objects.clone();
        objects.insert(ObjectName::Event(id), Arc::new([(id, Arc::new(event))].into()));
        let history = Arc::new(History::fold(&union(&objects)));
        let unreadable = last.unreadable.clone();
        let snapshot = Arc::new(Snapshot { objects, unreadable, history });
        let mut cached = self.lock();
        if let Some(now) = cached.get_mut(gateway)
            && Arc::ptr_eq(&now.snapshot, &last)
        {
            // The folder must be listed again: events of another host may have arrived, too.
            *now = Cached { snapshot, seen: None };
        }
    }

    /// See [`Generations::tend_log`].
    pub fn tend_log(&self) {
        self.generations.tend_log();
    }

    fn snapshot(&self, gateway: &GatewayId) -> Option<Arc<Snapshot>> {
        self.lock().get(gateway).map(|cached| cached.snapshot.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<GatewayId, Cached>> {
        // The code under this lock cannot panic.
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
