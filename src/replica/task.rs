//! The background task of a server that has a shared store.
//!
//! Touches the clock; everything else through the replica.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use super::failure::Failure;
use super::member::Replica;
use super::notices::Notices;
use crate::backoff;
use crate::backoff::Backoff;

/// The longest wait after failures, unless the store asks for more.
const LONGEST: Duration = Duration::from_secs(60);

/// The time between two rounds of tidying the cached blobs.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// Events that are appended within this time are delivered together.
const COLLECT: Duration = Duration::from_millis(500);

/// Keeps this host and the shared store in sync for as long as it is polled: a pass each interval,
/// which finds the events of other hosts, and between passes a delivery of this host's new events.
pub async fn run(replica: Arc<Replica>) {
    let retry = Backoff::new(replica.interval, LONGEST);
    let notices = Notices::default();
    let (mut failures, mut tidied) = (0u32, Instant::now());
    loop {
        let result = replica.pass().await;
        if let Ok(report) = &result {
            replica.status.count_pass(report, OffsetDateTime::now_utc());
        }
        failures = note(&replica, &result.map(drop), failures);
        if failures == 0 && tidied.elapsed() > TIDY_EVERY {
            tidied = Instant::now();
            if let Err(error) = replica.tidy().await {
                notices.error(format!("the cache could not be tidied: {error:#}"));
            }
        }
        if failures == 0 {
            let due = Instant::now() + retry.wait(0, replica.retry_after(), backoff::jitter());
            let delivered = deliver_until(&replica, due).await;
            failures = note(&replica, &delivered, failures);
        }
        if failures > 0 {
            let wait = retry.wait(failures, replica.retry_after(), backoff::jitter());
            tokio::time::sleep(wait).await;
        }
    }
}

/// Delivers new events of this host until a pass is `due`, or a delivery fails.
async fn deliver_until(replica: &Replica, due: Instant) -> Result<(), Failure> {
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(due) => return Ok(()),
            () = replica.woken() => {}
        }
        tokio::time::sleep_until(due.min(Instant::now() + COLLECT)).await;
        let pushed = replica.deliver().await?;
        replica.status.count_delivery(pushed);
    }
}

/// Logs the result of a pass or a delivery, once for each change, and returns the number of
/// failures in a row.
fn note(replica: &Replica, result: &Result<(), Failure>, failures: u32) -> u32 {
    let Err(failure) = result else {
        if replica.status.in_step() {
            tracing::info!("the store {} is back", replica.shown());
        }
        return 0;
    };
    replica.status.count_failure();
    if replica.status.away(failure, OffsetDateTime::now_utc()) {
        tracing::warn!(
            "the store {} {}; gateways boot from local files, and events are delivered later",
            replica.shown(),
            replica.status.why_away().unwrap_or_default()
        );
    }
    failures.saturating_add(1)
}
