//! This host as one of several with a shared store.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::Notify;

use super::blobs::BlobCache;
use super::blobs::Fetch;
use super::collect::Collector;
use super::collect::Freed;
use super::exchange::Exchange;
use super::exchange::Report;
use super::failure::Failure;
use super::remote;
use super::remote::Error;
use super::remote::Remote;
use super::status::Counts;
use super::status::Status;
use crate::fleet::Asset;
use crate::fleet::GatewayId;
use crate::store::State;
use crate::store::blobs::Access;
use crate::store::generations::Generations;

/// This host's part in a shared store: the exchange of events and records, the cache of blobs, and
/// the client of the store. Each of them has its own memory.
pub struct Replica {
    state: State,
    remote: Remote,
    blobs: Arc<BlobCache>,
    exchange: Exchange,
    pub(super) status: Status,
    pub(super) interval: Duration,
    /// Gateways that this host appended events to since they were last delivered.
    appended: Mutex<BTreeSet<GatewayId>>,
    wake: Notify,
}

impl Replica {
    /// Opens the shared store that the configuration of `state` names, without asking it; `None` if
    /// it names none. `systemd` is the folder of systemd's credentials.
    pub fn open(state: &State, systemd: Option<&Path>) -> Result<Option<Arc<Self>>> {
        let config = &state.config().store;
        let Some(url) = &config.url else { return Ok(None) };
        let remote = Remote::open(url, config, systemd)?;
        let generations = Generations::new(state);
        let blobs = Arc::new(BlobCache::new(&remote, &generations, config));
        Ok(Some(Arc::new(Self {
            exchange: Exchange::new(state, &remote, &generations, &blobs),
            blobs,
            remote,
            state: state.clone(),
            status: Status::default(),
            interval: config.interval,
            appended: Mutex::default(),
            wake: Notify::new(),
        })))
    }

    /// The location of the shared store, for people.
    pub fn shown(&self) -> &str {
        self.remote.shown()
    }

    /// The status of the shared store, for people.
    pub fn status(&self) -> String {
        self.status.line()
    }

    /// Counts of passes and fetches so far.
    pub fn counts(&self) -> Counts {
        let fetches = self.blobs.counts();
        Counts { fetched: fetches.fetched, failed_fetches: fetches.failed, ..self.status.counts() }
    }

    /// Counts the objects that the shared store does not have yet; `None` before the first
    /// successful pass, which learns what the store has.
    pub fn undelivered(&self) -> Result<Option<usize>> {
        if self.counts().last_pass.is_none() {
            return Ok(None);
        }
        self.exchange.undelivered().map(Some)
    }

    /// Reports that this host has appended an event to a gateway: [`run`](super::run) delivers it
    /// soon, without waiting for the next pass.
    pub fn wake(&self, gateway: &GatewayId) {
        self.appended.lock().unwrap_or_else(PoisonError::into_inner).insert(gateway.clone());
        self.wake.notify_one();
    }

    /// Waits until [`Replica::wake`] is called; returns at once if it was called since the last
    /// wait.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Exchanges the events and records of all gateways with the shared store, once.
    pub async fn pass(&self) -> Result<Report, Failure> {
        self.take_appended();
        self.exchange.pass().await
    }

    /// Delivers new events, and returns how many objects that were.
    pub(super) async fn deliver(&self) -> Result<usize, Failure> {
        let gateways = self.take_appended();
        self.exchange.deliver(gateways).await
    }

    fn take_appended(&self) -> BTreeSet<GatewayId> {
        std::mem::take(&mut *self.appended.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fetches a blob that is not here, and waits for it for `limit` at most. A longer download
    /// goes on for later requests.
    pub async fn fetch(&self, asset: &Asset, access: Access, limit: Duration) -> Fetch {
        self.blobs.fetch(asset, access, limit).await
    }

    /// Says whether a blob is here with all its bytes. One of another size is set aside. Waits for
    /// the disk.
    pub fn look(&self, asset: &Asset, access: Access) -> Result<bool> {
        self.blobs.look(asset, access)
    }

    /// Uploads blobs that another host could not fetch and this one has, and returns how many.
    pub async fn give_wanted(&self) -> Result<usize, Failure> {
        self.blobs.give_wanted().await
    }

    /// Tidies the cached blobs: verifies one more, and evicts others if the cache is full.
    pub async fn tidy(&self) -> Result<(), Failure> {
        self.blobs.give_wanted().await?;
        self.blobs.tidy().await
    }

    /// Verifies the files that the next boots of all gateways may need, fetches those that are
    /// missing or damaged, and returns what could not be fetched.
    pub async fn mend(&self) -> Result<Vec<String>> {
        self.blobs.mend().await
    }

    /// Deletes files from the shared store that no kept generation names, and sends those again
    /// that it has lost.
    pub async fn collect(&self, dry_run: bool) -> Result<Freed, Failure> {
        let (state, remote) = (&self.state, &self.remote);
        let collector = Collector { state, remote, blobs: &self.blobs, exchange: &self.exchange };
        collector.run(dry_run).await
    }

    /// Lists, writes, reads and deletes in the shared store: no other test shows what a key may do,
    /// and whether the bucket is full.
    pub async fn probe(&self) -> Result<(), Error> {
        remote::probe(&self.remote).await
    }

    /// The rest of the time for which the shared store asked for no requests.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.remote.retry_after()
    }
}
