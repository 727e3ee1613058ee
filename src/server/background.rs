//! Periodic tasks of the server: sweeps, rollouts, and checks whether gateways can boot. Touches
//! disk and clock.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::Notify;

use super::app::App;
use super::app::News;
use super::edge::systemd;
use crate::fleet::Kind;
use crate::replica::Freed;
use crate::store::gateways::Gateways;

/// Interval of removing expired leases and of looking at rollouts.
const SWEEP: Duration = Duration::from_secs(30);

/// Time from the start to the first collection of old files, since gateways may wait for the disk
/// then, and between two of them.
const FIRST_COLLECTION: Duration = Duration::from_secs(20);
const COLLECT: Duration = Duration::from_secs(6 * 60 * 60);

/// Wakes background tasks when there is work.
#[derive(Default)]
pub(super) struct Wakers {
    /// A boot was acknowledged: an older bucket key may be superfluous now.
    pub(super) buckets: Notify,
    /// A boot was acknowledged: a rollout may advance.
    pub(super) rollouts: Notify,
    /// Something happened that the status page shows.
    pub(super) page: Notify,
    /// A forge says that something was pushed to the git repository.
    pub(super) sync: Notify,
    /// The last look at it failed, so a forge that says the same again is to be heard.
    pub(super) sync_failed: AtomicBool,
}

impl Wakers {
    /// Wakes the tasks that it concerns.
    pub(super) fn hear(&self, news: News<'_>) {
        if let News::Event(Kind::Acknowledged { .. }) = news {
            self.buckets.notify_one();
            self.rollouts.notify_one();
        }
        self.page.notify_one();
    }
}

/// Advances rollouts as long as the server runs, one at a time however many acknowledgements
/// arrive.
pub(super) async fn advance_rollouts(app: Arc<App>, wakers: Arc<Wakers>) {
    loop {
        // Also notices canaries that used up their tries.
        let here = app.clone();
        let _ = on_disk(move || {
            here.advance_rollouts();
            Ok(())
        })
        .await;
        let _ = tokio::time::timeout(SWEEP, wakers.rollouts.notified()).await;
    }
}

/// Sweeps as long as the server runs, and logs new problems.
pub(super) async fn sweep(app: Arc<App>) {
    let mut known = app.settings().problems.clone();
    loop {
        tokio::time::sleep(SWEEP).await;
        mend_index(app.settings().state.gateways()).await;
        let here = app.clone();
        let swept = on_disk(move || {
            if let Err(error) = here.sweep_store() {
                tracing::warn!("{error}");
            }
            let mut problems = here.problems()?;
            problems.extend(here.look_for_files()?.problems);
            Ok(problems)
        });
        match swept.await {
            Ok(problems) => {
                for problem in problems.iter().filter(|problem| !known.contains(problem)) {
                    tracing::error!("{problem}");
                }
                known = problems;
            }
            Err(error) => tracing::error!("{error:#}"),
        }
        systemd::status(&summary(&app).await);
    }
}

/// Removes files of old generations as long as the server runs, rarely.
pub(super) async fn collect(app: Arc<App>) {
    tokio::time::sleep(FIRST_COLLECTION).await;
    loop {
        let here = app.clone();
        if let Err(error) = on_disk(move || here.collect()).await {
            tracing::warn!("no old files are removed: {error:#}");
        }
        collect_in_store(&app).await;
        tokio::time::sleep(COLLECT).await;
    }
}

/// The same in the shared store, while other hosts use it.
async fn collect_in_store(app: &App) {
    let keeps = app.settings().state.config().store.keep.is_some();
    let Some(replica) = app.replica().filter(|_| keeps) else { return };
    match replica.collect(false).await {
        Ok(Freed { blobs: 0, restored: 0, .. }) => {}
        Ok(Freed { blobs: files, bytes, restored }) => {
            tracing::info!(files, bytes, restored, "deleted old files from the shared store");
        }
        Err(error) => tracing::warn!("the store {}: {error:#}", replica.shown()),
    }
}

/// Repairs the index of certificates from the gateways' records.
pub(super) async fn mend_index(gateways: Gateways) {
    match on_disk(move || gateways.mend_index()).await {
        Ok(0) => {}
        Ok(mended) => tracing::warn!("repaired {mended} entries of gateways/.by-fingerprint"),
        Err(error) => tracing::error!("certificates may not be found: {error:#}"),
    }
}

/// A line about the fleet for `systemctl status`.
pub(super) async fn summary(app: &Arc<App>) -> String {
    let app = app.clone();
    let summary = on_disk(move || Ok(app.summary()?)).await;
    summary.unwrap_or_else(|error| format!("cannot read the state: {error:#}"))
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}
