//! Exchanges acts: what was done on any host that no event tells. They decide nothing, so nothing
//! waits for them, and a failure here is none of the pass.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use tokio::time::Instant;

use crate::fleet::EventId;
use crate::replica::blocking::blocking;
use crate::replica::layout;
use crate::replica::notices::Notices;
use crate::replica::remote::Remote;
use crate::store::State;
use crate::store::acts::Acts;
use crate::store::acts::KEPT;

/// The time between two listings. People can wait for a line of the log, and a listing costs.
const LIST_EVERY: Duration = Duration::from_secs(300);

/// Exchanges acts.
pub(super) struct ActExchange {
    remote: Remote,
    acts: Acts,
    notices: Notices,
    known: Mutex<Known>,
}

/// Knowledge of earlier passes; losing it only repeats work.
#[derive(Default)]
struct Known {
    listed: Option<Instant>,
    /// Acts that the shared store has.
    there: BTreeSet<EventId>,
    /// Those of them that cannot be taken over.
    refused: BTreeSet<EventId>,
}

impl ActExchange {
    pub(super) fn new(state: &State, remote: Remote) -> Self {
        Self {
            remote,
            acts: Acts::new(state),
            notices: Notices::default(),
            known: Mutex::default(),
        }
    }

    /// Delivers new acts of this host, and now and then fetches those of others.
    pub(super) async fn exchange(&self) {
        if let Err(error) = self.try_exchange().await {
            self.notices.error(format!("`farmgate log` may miss what other hosts did: {error:#}"));
        }
    }

    async fn try_exchange(&self) -> Result<()> {
        let acts = self.acts.clone();
        let local = blocking(move || acts.names()).await?;
        let due = self.known().listed.is_none_or(|listed| listed.elapsed() >= LIST_EVERY);
        if due {
            self.fetch(&local).await?;
        }
        let there = self.known().there.clone();
        for id in newest(&local, &there).difference(&there) {
            let (acts, id) = (self.acts.clone(), *id);
            let Some(bytes) = blocking(move || acts.bytes(id)).await? else { continue };
            self.remote.put(&layout::act(id), bytes).await?;
            self.known().there.insert(id);
        }
        if due { self.drop_oldest().await } else { Ok(()) }
    }

    async fn fetch(&self, local: &BTreeSet<EventId>) -> Result<()> {
        let listed = self.remote.list(layout::ACTS).await?;
        let there: BTreeSet<_> =
            listed.paths.iter().filter_map(|path| layout::parse_act(path)).collect();
        for id in newest(local, &there).difference(local) {
            if self.known().refused.contains(id) {
                continue;
            }
            let path = layout::act(*id);
            let Some(bytes) = self.remote.get(&path).await? else { continue };
            let (acts, id) = (self.acts.clone(), *id);
            if let Err(error) = blocking(move || acts.take_in(id, &bytes)).await {
                let shown = self.remote.shown();
                self.notices.error(format!("left out {shown}/{path}: {error:#}"));
                self.known().refused.insert(id);
            }
        }
        let mut known = self.known();
        (known.listed, known.there) = (Some(Instant::now()), there);
        Ok(())
    }

    /// Keeps the shared store bounded, as [`Acts::append`] does this host.
    async fn drop_oldest(&self) -> Result<()> {
        let there = self.known().there.clone();
        let kept = newest(&there, &BTreeSet::new());
        let old: Vec<_> = there.difference(&kept).copied().collect();
        if old.is_empty() {
            return Ok(());
        }
        let paths = old.iter().map(|id| layout::act(*id)).collect();
        self.remote.delete_all(paths).await?;
        self.known().there = kept;
        let acts = self.acts.clone();
        blocking(move || acts.remove(old)).await.context("old acts stay")
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The newest of both together, as many as are kept.
fn newest(one: &BTreeSet<EventId>, other: &BTreeSet<EventId>) -> BTreeSet<EventId> {
    // `Union` cannot be read backwards.
    let all: BTreeSet<_> = one.union(other).copied().collect();
    let too_many = all.len().saturating_sub(KEPT);
    all.into_iter().skip(too_many).collect()
}
