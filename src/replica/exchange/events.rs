//! Exchanges the events of one gateway, and remembers which objects both sides know.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use super::compact::Compactor;
use super::pull::Puller;
use super::push::Pusher;
use super::report::Report;
use crate::fleet::GatewayId;
use crate::fleet::ObjectName;
use crate::replica::blobs::BlobCache;
use crate::replica::blocking::blocking;
use crate::replica::failure::Failure;
use crate::replica::layout;
use crate::replica::notices::Notices;
use crate::replica::remote::Remote;
use crate::store::exchange::LocalObjects;
use crate::store::generations::Generations;

/// Exchanges events.
pub(super) struct EventExchange {
    remote: Remote,
    generations: Generations,
    pusher: Pusher,
    puller: Puller,
    compactor: Compactor,
    notices: Notices,
    /// Objects that both sides have, or that were sent or fetched and a pack has replaced on one
    /// side. A gateway is in it after its first exchange.
    known: Mutex<BTreeMap<GatewayId, BTreeSet<ObjectName>>>,
}

impl EventExchange {
    pub(super) fn new(remote: &Remote, generations: &Generations, blobs: &Arc<BlobCache>) -> Self {
        Self {
            remote: remote.clone(),
            generations: generations.clone(),
            pusher: Pusher::new(remote.clone(), generations.clone(), blobs.clone()),
            puller: Puller::new(remote.clone(), blobs.clone()),
            compactor: Compactor::new(remote.clone()),
            notices: Notices::default(),
            known: Mutex::default(),
        }
    }

    /// Exchanges the events of a gateway, of which the shared store has the objects `remote`. An
    /// error of this host's concerns this gateway alone.
    pub(super) async fn exchange(
        &self,
        gateway: &GatewayId,
        remote: &BTreeSet<ObjectName>,
    ) -> Result<Report, Failure> {
        match self.try_exchange(gateway, remote).await {
            Err(Failure::Local(error)) => {
                self.report(gateway, &error);
                Ok(Report { failed: 1, ..Report::default() })
            }
            result => result,
        }
    }

    async fn try_exchange(
        &self,
        gateway: &GatewayId,
        remote: &BTreeSet<ObjectName>,
    ) -> Result<Report, Failure> {
        let known = self.known().get(gateway).cloned();
        let first = known.is_none();
        let (mut known, mut report) = (known.unwrap_or_default(), Report::default());
        let mut local = self.list(gateway).await?;
        if first {
            // A restarted host pulls first: packs in the store say what needs no delivery.
            report += self.puller.pull(gateway, &mut local, remote, &mut known, true).await?;
        }
        report.pushed = self.pusher.push(gateway, &mut local, remote, &mut known, first).await?;
        if !first {
            // Otherwise last, since files may take their time.
            report += self.puller.pull(gateway, &mut local, remote, &mut known, false).await?;
        }
        let refused = self.puller.refused(gateway);
        let packed = self.compactor.compact(gateway, &mut local, remote, &refused).await?;
        known.extend(packed);
        if local.are_too_many() {
            self.pusher.condense(gateway, &mut local).await?;
        }
        known.extend(local.names().intersection(remote));
        known.retain(|name| {
            local.names().contains(name) || remote.contains(name) || packed == Some(*name)
        });
        self.known().insert(gateway.clone(), known);
        Ok(report)
    }

    /// Delivers the new events of a gateway that was exchanged before, without knowing what the
    /// shared store has now; returns how many objects.
    pub(super) async fn deliver(&self, gateway: &GatewayId) -> Result<usize, Failure> {
        match self.try_deliver(gateway).await {
            Err(Failure::Local(error)) => {
                self.report(gateway, &error);
                Ok(0)
            }
            result => result,
        }
    }

    async fn try_deliver(&self, gateway: &GatewayId) -> Result<usize, Failure> {
        let known = self.known().get(gateway).cloned();
        let Some(mut known) = known else { return Ok(0) };
        let mut local = self.list(gateway).await?;
        let none = BTreeSet::new();
        let pushed = self.pusher.push(gateway, &mut local, &none, &mut known, false).await?;
        self.known().insert(gateway.clone(), known);
        Ok(pushed)
    }

    /// Deletes the events of a removed gateway from the shared store.
    pub(super) async fn forget(
        &self,
        gateway: &GatewayId,
        remote: &BTreeSet<ObjectName>,
    ) -> Result<Report, Failure> {
        if !remote.is_empty() {
            let paths = remote.iter().map(|name| layout::object(gateway, *name)).collect();
            self.remote.delete_all(paths).await?;
        }
        self.known().remove(gateway);
        self.puller.forget(gateway);
        Ok(Report::default())
    }

    /// Counts those of `objects`, all that this host has of a gateway, that the shared store does
    /// not have yet.
    pub(super) fn undelivered(&self, gateway: &GatewayId, objects: &BTreeSet<ObjectName>) -> usize {
        match self.known().get(gateway) {
            Some(known) => objects.difference(known).count(),
            None => objects.len(),
        }
    }

    async fn list(&self, gateway: &GatewayId) -> anyhow::Result<LocalObjects> {
        let (generations, id) = (self.generations.clone(), gateway.clone());
        blocking(move || generations.local_objects(&id)).await
    }

    fn report(&self, gateway: &GatewayId, error: &anyhow::Error) {
        self.notices.error(format!("the events of {gateway} could not be exchanged: {error:#}"));
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<GatewayId, BTreeSet<ObjectName>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
