//! Blobs on demand: each comes once, however many ask for it.

use std::collections::HashMap;
use std::io;
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
use crate::store::blobs::BlobId;
use crate::store::events::Asset;

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
    running: HashMap<BlobId, watch::Receiver<Option<Outcome>>>,
    failed: HashMap<BlobId, Failed>,
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
    pub async fn fetch(self: &Arc<Self>, asset: &Asset, private: bool, limit: Duration) -> Fetch {
        match self.is_here(asset).await {
            Ok(true) => return Fetch::Here,
            Ok(false) => {}
            Err(error) => {
                return Fetch::Failed(BlobError::Disk(asset.sha256, format!("{error:#}")));
            }
        }
        let mut flight = match self.board(asset, private) {
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
        private: bool,
    ) -> Result<(), BlobError> {
        let limit = transfer_limit(self.state.config().store.timeout, asset.size);
        match self.fetch(asset, private, limit).await {
            Fetch::Here => Ok(()),
            Fetch::OnItsWay => Err(BlobError::Remote(super::Error::Slow)),
            Fetch::Failed(error) => Err(error),
        }
    }

    /// Joins the fetch of a blob, or begins one.
    fn board(
        self: &Arc<Self>,
        asset: &Asset,
        private: bool,
    ) -> Result<watch::Receiver<Option<Outcome>>, BlobError> {
        let mut inner = self.flights.lock();
        if let Some(running) = inner.running.get(&asset.sha256) {
            return Ok(running.clone());
        }
        if let Some(failed) = inner.failed.get(&asset.sha256)
            && failed.until > Instant::now()
        {
            return Err(failed.error.clone());
        }
        let (sender, receiver) = watch::channel(None);
        inner.running.insert(asset.sha256, receiver.clone());
        drop(inner);
        let (replica, asset) = (self.clone(), asset.clone());
        tokio::spawn(async move {
            // Another fetch may have ended since somebody looked.
            let outcome = match replica.is_here(&asset).await {
                Ok(true) => Ok(()),
                _ => replica.download(&asset, private).await,
            };
            replica.land(asset.sha256, &outcome);
            // Nobody may be left to hear it.
            let _ = sender.send(Some(outcome.clone()));
            replica.want(asset.sha256, &outcome).await;
        });
        Ok(receiver)
    }

    fn land(&self, id: BlobId, outcome: &Outcome) {
        self.status.fetched(outcome.is_ok());
        let mut inner = self.flights.lock();
        inner.running.remove(&id);
        let Err(error) = outcome else {
            inner.failed.remove(&id);
            return;
        };
        let times = inner.failed.get(&id).map_or(0, |failed| failed.times);
        let wait = backoff::wait(FIRST_WAIT, times, None, backoff::random());
        let until = Instant::now() + wait;
        inner.failed.insert(id, Failed { times: times + 1, until, error: error.clone() });
        drop(inner);
        if !matches!(error, BlobError::Remote(_)) {
            self.report_once(error.to_string());
        }
    }

    /// Whether a blob is here with all its bytes. One that is not whole is taken away.
    async fn is_here(self: &Arc<Self>, asset: &Asset) -> anyhow::Result<bool> {
        let (blobs, id, size) = (self.generations.blobs().clone(), asset.sha256, asset.size);
        let found = blocking(move || match std::fs::metadata(blobs.path(&id)) {
            Ok(facts) if facts.len() == size => {
                // Only decides what is forgotten first.
                let _ = blobs.touch(&id, &facts);
                Ok(Some(true))
            }
            Ok(_) => {
                blobs.set_aside(&id)?;
                Ok(Some(false))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        });
        let found = found.await?;
        if found == Some(false) {
            tracing::error!("blob {id} is damaged: it is set aside and fetched again");
        }
        Ok(found == Some(true))
    }
}

impl Flights {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
