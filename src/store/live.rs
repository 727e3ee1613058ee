//! Generations as the server sees them: what was read once is kept in memory.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use anyhow::Result;
use anyhow::ensure;
use time::OffsetDateTime;

use super::blobs::Access;
use super::blobs::Blobs;
use super::generations::Generations;
use super::generations::Objects;
use super::generations::union;
use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::fleet::History;
use crate::fleet::Kind;
use crate::fleet::ObjectName;

/// Generations as the server sees them: a request lists one small directory, and
/// reads only the events that came since the last one.
#[derive(Debug)]
pub struct LiveGenerations {
    generations: Generations,
    snapshots: Mutex<HashMap<GatewayId, Arc<Snapshot>>>,
}

#[derive(Debug, Default)]
struct Snapshot {
    objects: Objects,
    unreadable: BTreeSet<ObjectName>,
    history: Arc<History>,
}

impl LiveGenerations {
    /// Follows `generations`.
    pub fn new(generations: Generations) -> Self {
        Self { generations, snapshots: Mutex::default() }
    }

    /// The blobs that only those with this access read.
    pub fn blobs_of(&self, access: Access) -> &Blobs {
        self.generations.blobs_of(access)
    }

    /// Whether anything was ever recorded of a gateway, and is still there.
    pub fn has_folder(&self, gateway: &GatewayId) -> bool {
        self.generations.has_folder(gateway)
    }

    /// What is known of a gateway's generations now. An event that cannot be read
    /// is reported once and left out; when the directory cannot be read, what was
    /// last seen still holds: a boot must not fail for it.
    pub fn history(&self, gateway: &GatewayId) -> Result<Arc<History>> {
        let last = self.lock().get(gateway).cloned();
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
        if let Some(last) = &last
            && last.objects.keys().eq(objects.keys())
            && failed.is_empty()
        {
            return Ok(last.history.clone());
        }
        for unreadable in failed.values() {
            tracing::error!(gateway_id = %gateway, "left out an event: {:#}", unreadable.error);
        }
        let lasting = failed.into_iter().filter(|(_, unreadable)| unreadable.lasting);
        let unreadable =
            known.unreadable.iter().copied().chain(lasting.map(|(id, _)| id)).collect();
        let history = Arc::new(History::fold(&union(&objects)));
        let snapshot = Snapshot { objects, unreadable, history: history.clone() };
        self.lock().insert(gateway.clone(), Arc::new(snapshot));
        Ok(history)
    }

    /// See [`Generations::append`]. Fails where the folder of the events is gone: a new one,
    /// with nothing but this event in it, would put an end to what was last seen.
    pub fn append(&self, gateway: &GatewayId, kind: Kind, now: OffsetDateTime) -> Result<EventId> {
        let seen = self.lock().get(gateway).is_some_and(|last| !last.objects.is_empty());
        ensure!(
            !seen || self.generations.has_folder(gateway),
            "the folder of the events of {gateway} is gone; restore it from a backup"
        );
        self.generations.append(gateway, kind, now)
    }

    /// See [`Generations::tend_log`].
    pub fn tend_log(&self) {
        self.generations.tend_log();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<GatewayId, Arc<Snapshot>>> {
        // Nothing that could panic runs while the map is locked.
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
