//! Blobs on demand: each comes once, however many ask for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Replica;
use super::backoff;
use super::blobs::BlobError;
use super::blocking;
use super::remote::transfer_limit;
use crate::fleet::Asset;
use crate::fleet::BlobId;
use crate::store::blobs::Access;
use crate::store::blobs::Fault;

/// The first wait after a blob did not come.
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// How a fetch went.
type Outcome = Result<(), BlobError>;

/// Fetches that run, and those that failed.
#[derive(Default)]
pub(super) struct Flights {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    running: HashMap<(Access, BlobId), watch::Receiver<Option<Outcome>>>,
    failed: HashMap<(Access, BlobId), Failed>,
}

struct Failed {
    times: u32,
    until: Instant,
    error: BlobError,
}

/// Whether a blob is at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// It is.
    Here,
    /// It is on its way, and did not come in time.
    OnItsWay,
    /// It could not be had.
    Failed(BlobError),
}

impl Replica {
    /// Sees that a blob is here, and waits for it for `limit` at most. What comes later
    /// is kept for who asks again.
    pub async fn fetch(self: &Arc<Self>, asset: &Asset, access: Access, limit: Duration) -> Fetch {
        match self.is_here(asset, access).await {
            Ok(true) => return Fetch::Here,
            Ok(false) => {}
            Err(error) => {
                return Fetch::Failed(BlobError::Disk(asset.sha256, format!("{error:#}")));
            }
        }
        let mut flight = match self.board(asset, access) {
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
            // Too slow; or the fetch was given up, because the server stops.
            Ok(Err(_)) | Err(_) => Fetch::OnItsWay,
        }
    }

    /// The same for who can wait as long as it takes.
    pub(super) async fn fetch_in_time(
        self: &Arc<Self>,
        asset: &Asset,
        access: Access,
    ) -> Result<(), BlobError> {
        let limit = transfer_limit(self.state.config().store.timeout, asset.size);
        match self.fetch(asset, access, limit).await {
            Fetch::Here => Ok(()),
            Fetch::OnItsWay => Err(BlobError::Remote(super::Error::Slow)),
            Fetch::Failed(error) => Err(error),
        }
    }

    /// Joins the fetch of a blob, or begins one.
    fn board(
        self: &Arc<Self>,
        asset: &Asset,
        access: Access,
    ) -> Result<watch::Receiver<Option<Outcome>>, BlobError> {
        let mut inner = self.flights.lock();
        let key = (access, asset.sha256);
        if let Some(running) = inner.running.get(&key) {
            return Ok(running.clone());
        }
        if let Some(failed) = inner.failed.get(&key)
            && failed.until > Instant::now()
        {
            return Err(failed.error.clone());
        }
        let (sender, receiver) = watch::channel(None);
        inner.running.insert(key, receiver.clone());
        drop(inner);
        let (replica, asset) = (self.clone(), asset.clone());
        tokio::spawn(async move {
            // Another fetch may have ended since somebody looked.
            let outcome = match replica.is_here(&asset, access).await {
                Ok(true) => Ok(()),
                _ => replica.download(&asset, access).await,
            };
            replica.land(key, &outcome);
            // Nobody may be left to hear it.
            let _ = sender.send(Some(outcome.clone()));
            replica.want(access, asset.sha256, &outcome).await;
        });
        Ok(receiver)
    }

    fn land(&self, key: (Access, BlobId), outcome: &Outcome) {
        self.status.fetched(outcome.is_ok());
        let mut inner = self.flights.lock();
        inner.running.remove(&key);
        let Err(error) = outcome else {
            inner.failed.remove(&key);
            return;
        };
        let times = inner.failed.get(&key).map_or(0, |failed| failed.times);
        let wait = backoff::wait(FIRST_WAIT, times, None, backoff::random());
        let until = Instant::now() + wait;
        inner.failed.insert(key, Failed { times: times + 1, until, error: error.clone() });
        drop(inner);
        if !matches!(error, BlobError::Remote(_)) {
            self.report_once(error.to_string());
        }
    }

    /// Whether a blob is here with all its bytes. One that is not whole is taken away.
    pub fn look(&self, asset: &Asset, access: Access) -> anyhow::Result<bool> {
        let (blobs, id) = (self.generations.blobs_of(access), asset.sha256);
        match blobs.find(asset) {
            Ok(facts) => {
                // Only decides what is forgotten first.
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

    async fn is_here(self: &Arc<Self>, asset: &Asset, access: Access) -> anyhow::Result<bool> {
        let (replica, asset) = (self.clone(), asset.clone());
        blocking(move || replica.look(&asset, access)).await
    }
}

impl Flights {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
