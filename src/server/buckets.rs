//! The background task that reconciles buckets. No request ever waits for a provider. Touches disk
//! and network.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use anyhow::Result;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::app::App;
use super::background::Wakers;
use super::settings::Settings;
use crate::bucket;
use crate::bucket::AnyProvider;
use crate::bucket::Disk;
use crate::bucket::Report;
use crate::bucket::Scope;
use crate::store::State;

/// Interval of looking for changes by commands.
const LOOK: Duration = Duration::from_secs(2);

/// Interval of looking for due work.
const PASS: Duration = Duration::from_secs(30);

/// Reconciles buckets as long as the server runs.
pub(super) async fn run(app: Arc<App>, wakers: Arc<Wakers>) {
    let (mut seen, mut last) = (None, None::<(Instant, Arc<Settings>)>);
    loop {
        let acknowledged = tokio::select! {
            () = tokio::time::sleep(LOOK) => false,
            () = wakers.buckets.notified() => true,
        };
        let settings = app.settings();
        if settings.state.config().buckets.provider.is_none() {
            continue;
        }
        let stamps = change_stamps(&settings.state).await;
        let due = last
            .as_ref()
            .is_none_or(|(at, old)| at.elapsed() >= PASS || !Arc::ptr_eq(old, &settings));
        if due || acknowledged || stamps != seen {
            // Read before the pass, so that no change during it is missed.
            seen = stamps;
            last = Some((Instant::now(), settings.clone()));
            pass(settings).await;
        }
    }
}

/// Time stamps of the last change to the gateways and to the files about buckets.
async fn change_stamps(state: &State) -> Option<[Option<SystemTime>; 2]> {
    let changed = async |dir| tokio::fs::metadata(dir).await.and_then(|m| m.modified()).ok();
    Some([
        changed(state.dir().join("gateways")).await,
        changed(Disk::new(state).dir().clone()).await,
    ])
}

/// Does the due work. Cancelled when the server stops.
async fn pass(settings: Arc<Settings>) {
    let stop = CancellationToken::new();
    let _stop_when_dropped = stop.clone().drop_guard();
    let handle = Handle::current();
    // On a blocking thread, since it waits for the disk again and again.
    let done = tokio::task::spawn_blocking(move || -> Result<Report> {
        let state = &settings.state;
        // A command holds the lock; the next pass does the rest.
        let Some(_lock) = Disk::new(state).try_reconciling()? else { return Ok(Report::default()) };
        let connect =
            || AnyProvider::connect(&state.config().buckets, settings.credentials.as_deref());
        let scope = Scope::default();
        handle.block_on(async {
            tokio::select! {
                report = bucket::reconcile(state, connect, &scope) => report,
                () = stop.cancelled() => Ok(Report::default()),
            }
        })
    });
    match done.await.map_err(anyhow::Error::from).and_then(|report| report) {
        Ok(report) => {
            let failed = report.failed.len();
            if let Some((gateway, error)) = report.failed.into_iter().next() {
                tracing::warn!(%gateway, failed, "buckets are not in order: {error}");
            }
        }
        Err(error) => tracing::error!("cannot reconcile buckets: {error:#}"),
    }
}
