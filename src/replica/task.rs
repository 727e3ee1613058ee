use std::sync::Arc;

use time::OffsetDateTime;

use super::Replica;
use super::backoff;
use super::error::Error;

/// Keeps this host and the common store in step for as long as it is polled.
pub async fn run(replica: Arc<Replica>) {
    let mut failures = 0;
    loop {
        let result = replica.pass().await;
        failures = if result.is_ok() { 0 } else { failures + 1 };
        replica.note(&result.map(drop));
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
            None => Error::Other(format!("could not be asked: {error:#}")),
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
