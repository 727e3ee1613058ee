use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use time::OffsetDateTime;

use super::Replica;
use super::backoff;
use super::error::Error;

/// How often one more blob is read to its end, and room is made.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// Keeps this host and the common store in step for as long as it is polled.
pub async fn run(replica: Arc<Replica>) {
    let mut failures = 0;
    let mut tidied = Instant::now();
    loop {
        let result = replica.pass().await;
        failures = if result.is_ok() { 0 } else { failures + 1 };
        replica.status.passed(result.as_ref().ok(), OffsetDateTime::now_utc());
        replica.note(&result.map(drop));
        if failures == 0 && tidied.elapsed() > TIDY_EVERY {
            tidied = Instant::now();
            if let Err(error) = replica.tidy().await {
                replica.report_once(format!("the cache is not looked after: {error:#}"));
            }
        }
        let rest = replica.remote.wants_rest();
        let wait = backoff::wait(replica.interval, failures, rest, backoff::random());
        tokio::time::sleep(wait).await;
    }
}

impl Replica {
    /// Tells of how a pass went: once, until it changes.
    fn note(&self, result: &anyhow::Result<()>) {
        let Err(error) = result else {
            if self.status.in_step() {
                tracing::info!("the store {} is back", self.remote.shown());
            }
            return;
        };
        let error = match error.downcast_ref::<Error>() {
            Some(error) => error.clone(),
            None => Error::Other(format!("could not be asked: {error:#}").into()),
        };
        let text = error.to_string();
        if self.status.away(error, OffsetDateTime::now_utc()) {
            tracing::warn!(
                "the store {} {text}; gateways boot from what is here, and what happens is \
                 delivered later",
                self.remote.shown()
            );
        }
    }
}
