//! The background task that brings in the git repository. No request ever waits for it. Touches disk
//! and network.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use super::app::App;
use super::background::Wakers;
use super::settings::Settings;
use crate::backoff::jitter;
use crate::foreign::Foreign;
use crate::sync;
use crate::sync::Looked;
use crate::sync::Outcome;
use crate::sync::Status;
use crate::sync::Turn;
use crate::sync::Wish;

/// Interval of looking whether a look at the remote is due.
const LOOK: Duration = Duration::from_secs(2);

/// The first retry after a failure; later ones wait longer, up to `interval`.
const RETRY: Duration = Duration::from_secs(15);

/// Looks at the remote as long as the server runs: each interval, and when a forge says so.
pub(super) async fn run(app: Arc<App>, wakers: Arc<Wakers>) {
    let (mut last, mut wait, mut failures) = (None::<(Instant, Arc<Settings>)>, Duration::ZERO, 0);
    loop {
        let told = tokio::select! {
            () = tokio::time::sleep(LOOK) => false,
            () = wakers.sync.notified() => true,
        };
        let settings = app.settings();
        let config = &settings.state.config().sync;
        if config.remote.is_none() {
            continue;
        }
        let due = last
            .as_ref()
            .is_none_or(|(at, old)| at.elapsed() >= wait || !Arc::ptr_eq(old, &settings));
        if !due && !told {
            continue;
        }
        // What other hosts have published is not published here again.
        if let Some(replica) = app.replica() {
            let _ = replica.pass().await;
        }
        let before = Status::read(&settings.state).ok().flatten();
        let looked = look(settings.clone()).await;
        last = Some((Instant::now(), settings.clone()));
        failures = match &looked {
            Ok(_) => 0,
            Err(_) => u32::saturating_add(failures, 1),
        };
        // Hosts of one fleet, and of one forge, do not all come at the same moment.
        let full = config.interval.mul_f64(0.9 + 0.2 * jitter());
        wait = match failures {
            0 => full,
            count => full.min(RETRY.saturating_mul(1 << count.min(10))),
        };
        report(looked, before);
        if failures > 0 {
            wakers.sync_failed.store(true, Ordering::Relaxed);
        }
    }
}

/// Logs what is new.
fn report(looked: Result<Option<Looked>>, before: Option<Status>) {
    match looked {
        // A command is at it.
        Ok(None) => {}
        Ok(Some(Looked { status, brought })) => {
            for warning in brought.iter().flat_map(|brought| &brought.warnings) {
                tracing::warn!("sync: {warning}");
            }
            let line = status.line();
            let failed = before.is_some_and(|before| before.result == Outcome::Failed);
            match status.result {
                Outcome::Applied => tracing::info!("sync: {line}"),
                _ if failed => tracing::info!("sync works again: {line}"),
                _ => tracing::debug!("sync: {line}"),
            }
        }
        Err(error) => {
            let reason = Foreign::new(&format!("{error:#}").replace('\n', " | "));
            match before.is_some_and(|before| before.reason.as_ref() == Some(&reason)) {
                true => tracing::debug!("sync failed again: {reason}"),
                false => tracing::error!("sync failed, and nothing was changed: {reason}"),
            }
        }
    }
}

/// Looks once. Cancelled when the server stops. `None` if a command looks at the moment.
async fn look(settings: Arc<Settings>) -> Result<Option<Looked>> {
    let stop = CancellationToken::new();
    let _stop_when_dropped = stop.clone().drop_guard();
    let looked = tokio::task::spawn_blocking(move || {
        let state = &settings.state;
        let Some(turn) = Turn::take(state, Duration::ZERO)? else { return Ok(None) };
        let systemd = settings.credentials.as_deref();
        sync::look(state, &turn, systemd, &stop, Wish::default()).map(Some)
    });
    looked.await?
}
