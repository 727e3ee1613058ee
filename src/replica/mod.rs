//! Several boot hosts, one fleet: the local store and a common one are brought in step, in the
//! background.
//!
//! The local directory stays what every request reads and writes; nothing here is on the way
//! of a boot. Objects are immutable and have names of their own, so two stores are in step once
//! each has what the other has: no locks, no conditional writes, no order. What is written
//! while the common store is away stays in the local one, and is delivered later under the
//! same name: nothing is lost, and nothing counts twice. Nothing local is ever deleted
//! because it is missing elsewhere: a wrong or emptied bucket takes nothing away.

mod backoff;
mod blobs;
mod cache;
mod compact;
mod copy;
mod credentials;
mod error;
mod fetch;
mod layout;
mod pass;
mod probe;
mod pull;
mod push;
mod records;
mod remote;
mod status;
mod strays;
mod task;
mod throttle;
mod wanted;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Result;

pub use blobs::BlobError;
pub use copy::Copied;
pub use copy::Place;
pub use copy::copy;
pub use error::Error;
pub use fetch::Fetch;
pub use pass::Report;
pub use remote::Remote;
pub use status::Counts;
pub use task::run;

use fetch::Flights;
use status::Status;

use crate::fleet::BlobId;
use crate::fleet::GatewayId;
use crate::fleet::ObjectName;
use crate::store::State;
use crate::store::blobs::Access;
use crate::store::generations::Generations;

/// One boot host's part in a common store.
pub struct Replica {
    state: State,
    generations: Generations,
    remote: Remote,
    interval: Duration,
    memory: Mutex<Memory>,
    flights: Flights,
    status: Status,
}

/// What spares work. To lose it costs only work.
#[derive(Default)]
struct Memory {
    /// Objects of a gateway that are, or were, here: they are neither fetched nor sent again.
    seen: BTreeMap<GatewayId, BTreeSet<ObjectName>>,
    /// Blobs that the common store has.
    stored: HashSet<(Access, BlobId)>,
    /// Gateways whose next boot may need blobs that are not here yet.
    wanting: BTreeSet<GatewayId>,
    /// Blobs of which the common store has this host's word that they are wanted.
    wanted: HashSet<(Access, BlobId)>,
    /// The blob that was looked at last.
    scrubbed: Option<(Access, BlobId)>,
    /// Gateways that were removed, by id.
    removed: BTreeSet<GatewayId>,
    /// Paths in the common store of what means nothing to this program.
    refused: BTreeSet<String>,
    /// What was found wrong and reported: once.
    reported: BTreeSet<String>,
}

impl Replica {
    /// The part that the configuration of `state` describes; `None` if this host is alone.
    /// `systemd` is the folder of systemd's credentials.
    pub fn open(state: &State, systemd: Option<&Path>) -> Result<Option<Arc<Self>>> {
        let config = &state.config().store;
        let Some(url) = &config.url else { return Ok(None) };
        let remote = Remote::open(url, config, systemd)?;
        Ok(Some(Arc::new(Self {
            generations: Generations::new(state),
            state: state.clone(),
            flights: Flights::default(),
            status: Status::default(),
            memory: Mutex::default(),
            interval: config.interval,
            remote,
        })))
    }

    /// Where the common store is, for people.
    pub fn shown(&self) -> &str {
        self.remote.shown()
    }

    /// How it stands with the common store: for people.
    pub fn status(&self) -> String {
        self.status.line()
    }

    /// What came of passes and fetches so far.
    pub fn counts(&self) -> Counts {
        self.status.counts()
    }

    /// How many objects the common store does not have yet; `None` as long as nobody knows
    /// what it has.
    pub fn undelivered(&self) -> Result<Option<usize>> {
        if self.counts().last_pass.is_none() {
            return Ok(None);
        }
        let mut here = Vec::new();
        for gateway in self.generations.gateways()? {
            let objects = self.generations.objects(&gateway)?;
            here.push((gateway, objects));
        }
        let memory = self.memory();
        let new =
            |(gateway, objects): &(GatewayId, BTreeSet<ObjectName>)| match memory.seen.get(gateway)
            {
                Some(seen) => objects.difference(seen).count(),
                None => objects.len(),
            };
        Ok(Some(here.iter().map(new).sum()))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Nothing that could panic runs while it is locked.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Paths of all objects below `prefix` in the common store. What farmgate cannot have
    /// written is left alone.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let listed = self.remote.list(prefix).await;
        for name in self.remote.strays() {
            self.report_once(format!(
                "left alone {name} in {}: no object of farmgate has such a name",
                self.remote.shown()
            ));
        }
        listed
    }

    /// Reports something that stays wrong until somebody mends it: once.
    fn report_once(&self, what: String) {
        if !self.memory().reported.contains(&what) {
            tracing::error!("{what}");
            self.memory().reported.insert(what);
        }
    }
}

/// Runs what waits for the disk where it holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}
