//! Fetches blobs on demand, single-flight: concurrent requests for a blob share one download. A
//! failed fetch is not retried at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::error::BlobError;
use super::transfer::Transfer;
use super::wanted::Wanted;
use crate::backoff;
use crate::backoff::Backoff;
use crate::fleet::Asset;
use crate::fleet::BlobId;
use crate::replica::blocking::blocking;
use crate::replica::notices::Notices;
use crate::replica::remote::Error;
use crate::replica::remote::transfer_limit;
use crate::store::blobs::Access;
use crate::store::blobs::Fault;
use crate::store::generations::Generations;

/// Waits before a failed fetch is retried.
const RETRY: Backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(60));

type Outcome = Result<(), BlobError>;

/// Fetches blobs, each once at a time.
pub(super) struct Fetcher {
    generations: Generations,
    timeout: Duration,
    transfer: Arc<Transfer>,
    wanted: Arc<Wanted>,
    notices: Notices,
    flights: Mutex<Flights>,
}

#[derive(Default)]
struct Flights {
    running: HashMap<(Access, BlobId), watch::Receiver<Option<Outcome>>>,
    failed: HashMap<(Access, BlobId), Failed>,
    counts: FetchCounts,
}

struct Failed {
    times: u32,
    until: Instant,
    error: BlobError,
}

/// Counts of fetches, by result.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::replica) struct FetchCounts {
    pub(in crate::replica) fetched: u64,
    pub(in crate::replica) failed: u64,
}

/// The result of a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// The blob is on this host.
    Here,
    /// It did not arrive within the limit; the download goes on.
    OnItsWay,
    /// It could not be fetched.
    Failed(BlobError),
}

impl Fetcher {
    pub(super) fn new(
        generations: Generations,
        timeout: Duration,
        transfer: Arc<Transfer>,
        wanted: Arc<Wanted>,
    ) -> Self {
        let (notices, flights) = (Notices::default(), Mutex::default());
        Self { generations, timeout, transfer, wanted, notices, flights }
    }

    /// Fetches a blob that is not here, and waits for it for `limit` at most. A longer download
    /// goes on for later requests.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        asset: &Asset,
        access: Access,
        limit: Duration,
    ) -> Fetch {
        match self.is_here(asset, access).await {
            Ok(true) => return Fetch::Here,
            Ok(false) => {}
            Err(error) => {
                return Fetch::Failed(BlobError::Disk(asset.sha256, format!("{error:#}")));
            }
        }
        let mut flight = match self.join_or_start(asset, access) {
            Ok(flight) => flight,
            Err(error) => return Fetch::Failed(error),
        };
        let landed = tokio::time::timeout(limit, flight.wait_for(Option::is_some)).await;
        match landed {
            Ok(Ok(outcome)) => match &*outcome {
                Some(Ok(())) => Fetch::Here,
                Some(Err(error)) => Fetch::Failed(error.clone()),
                None => Fetch::OnItsWay,
            },
            // Too slow; or the download was dropped, because the server stops.
            Ok(Err(_)) | Err(_) => Fetch::OnItsWay,
        }
    }

    /// Fetches a blob, and waits as long as a transfer of its size may take.
    pub(super) async fn fetch_fully(
        self: &Arc<Self>,
        asset: &Asset,
        access: Access,
    ) -> Result<(), BlobError> {
        match self.fetch(asset, access, transfer_limit(self.timeout, asset.size)).await {
            Fetch::Here => Ok(()),
            Fetch::OnItsWay => Err(BlobError::Remote(Error::Slow)),
            Fetch::Failed(error) => Err(error),
        }
    }

    /// Joins the running download of a blob, or starts one.
    fn join_or_start(
        self: &Arc<Self>,
        asset: &Asset,
        access: Access,
    ) -> Result<watch::Receiver<Option<Outcome>>, BlobError> {
        let mut flights = self.flights();
        let key = (access, asset.sha256);
        if let Some(running) = flights.running.get(&key) {
            return Ok(running.clone());
        }
        if let Some(failed) = flights.failed.get(&key)
            && failed.until > Instant::now()
        {
            return Err(failed.error.clone());
        }
        let (sender, receiver) = watch::channel(None);
        flights.running.insert(key, receiver.clone());
        drop(flights);
        let (fetcher, asset) = (self.clone(), asset.clone());
        tokio::spawn(async move {
            // Another download may have ended since the caller looked.
            let outcome = match fetcher.is_here(&asset, access).await {
                Ok(true) => Ok(()),
                _ => fetcher.transfer.download(&asset, access).await,
            };
            fetcher.end(key, &outcome);
            // Fails if nobody waits any more.
            let _ = sender.send(Some(outcome.clone()));
            fetcher.wanted.note(access, asset.sha256, &outcome).await;
        });
        Ok(receiver)
    }

    fn end(&self, key: (Access, BlobId), outcome: &Outcome) {
        let mut flights = self.flights();
        flights.running.remove(&key);
        let Err(error) = outcome else {
            flights.counts.fetched += 1;
            flights.failed.remove(&key);
            return;
        };
        flights.counts.failed += 1;
        let times = flights.failed.get(&key).map_or(0, |failed| failed.times);
        let until = Instant::now() + RETRY.wait(times, None, backoff::jitter());
        let times = times.saturating_add(1);
        flights.failed.insert(key, Failed { times, until, error: error.clone() });
        drop(flights);
        if !matches!(error, BlobError::Remote(_)) {
            self.notices.error(error.to_string());
        }
    }

    /// Says whether a blob is here with all its bytes. One of another size is set aside.
    pub(super) fn look(&self, asset: &Asset, access: Access) -> anyhow::Result<bool> {
        let (blobs, id) = (self.generations.blobs_of(access), asset.sha256);
        match blobs.find(asset) {
            Ok(facts) => {
                // Only decides what is evicted first.
                let _ = blobs.touch(&id, &facts);
                Ok(true)
            }
            Err(Fault::Missing(_)) => Ok(false),
            Err(Fault::Unreadable(_, error)) => Err(error.into()),
            Err(Fault::Size { .. } | Fault::Digest(_)) => {
                blobs.set_aside(&id)?;
                tracing::error!("blob {id} is damaged: it is set aside and fetched again");
                Ok(false)
            }
        }
    }

    /// Counts the fetches so far, by result.
    pub(super) fn counts(&self) -> FetchCounts {
        self.flights().counts
    }

    async fn is_here(self: &Arc<Self>, asset: &Asset, access: Access) -> anyhow::Result<bool> {
        let (fetcher, asset) = (self.clone(), asset.clone());
        blocking(move || fetcher.look(&asset, access)).await
    }

    fn flights(&self) -> MutexGuard<'_, Flights> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
