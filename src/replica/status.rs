//! The status of the shared store, for people and for metrics.

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::exchange::Report;
use super::failure::Failure;
use super::remote::Error;

/// The status of the shared store, and counts of passes.
#[derive(Default)]
pub(super) struct Status {
    reach: Mutex<Reach>,
    counts: Mutex<Counts>,
}

/// Counts of passes and fetches since the server started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// `true` if the last pass or delivery succeeded; `None` before the first.
    pub in_step: Option<bool>,
    /// The time when a pass last succeeded.
    pub last_pass: Option<OffsetDateTime>,
    /// Passes and deliveries that failed.
    pub failed_passes: u64,
    /// Objects that were delivered.
    pub pushed: u64,
    /// Objects that were fetched.
    pub pulled: u64,
    /// Generations that waited for their files in the last pass.
    pub held_back: u64,
    /// Objects that this program could not read in the last pass.
    pub left_out: u64,
    /// Blobs that were fetched.
    pub fetched: u64,
    /// Attempts to fetch a blob that failed.
    pub failed_fetches: u64,
}

#[derive(Default)]
enum Reach {
    #[default]
    NotAsked,
    InStep,
    Away {
        since: OffsetDateTime,
        error: Error,
    },
}

impl Status {
    /// One line for people.
    pub(super) fn line(&self) -> String {
        match &*self.reach() {
            Reach::NotAsked => "store not asked yet".to_owned(),
            Reach::InStep => "store in sync".to_owned(),
            Reach::Away { since, error } => {
                let since = since.replace_nanosecond(0).unwrap_or(*since);
                let since = since.format(&Rfc3339).unwrap_or_default();
                format!("store away since {since}: it {error}")
            }
        }
    }

    /// Records a success, and returns whether it is the first after failures.
    pub(super) fn in_step(&self) -> bool {
        let mut reach = self.reach();
        let is_new = matches!(*reach, Reach::Away { .. });
        *reach = Reach::InStep;
        is_new
    }

    /// Records a failure, and returns whether it, or its reason, is new.
    pub(super) fn away(&self, failure: &Failure, at: OffsetDateTime) -> bool {
        let new = match failure {
            Failure::Store(error) => error.clone(),
            Failure::Local(error) => Error::Other(format!("could not be asked: {error:#}").into()),
        };
        let mut reach = self.reach();
        match &mut *reach {
            Reach::Away { error, .. } => {
                // By their text: `Retry-After` differs each time.
                let is_new = error.to_string() != new.to_string();
                *error = new;
                is_new
            }
            _ => {
                *reach = Reach::Away { since: at, error: new };
                true
            }
        }
    }

    /// The reason why the store is unavailable, if it is.
    pub(super) fn why_away(&self) -> Option<String> {
        match &*self.reach() {
            Reach::Away { error, .. } => Some(error.to_string()),
            _ => None,
        }
    }

    /// The counts so far.
    pub(super) fn counts(&self) -> Counts {
        *self.counted()
    }

    /// Counts a pass that succeeded.
    pub(super) fn count_pass(&self, report: &Report, at: OffsetDateTime) {
        let mut counts = self.counted();
        counts.in_step = Some(true);
        counts.last_pass = Some(at);
        counts.pushed += report.pushed as u64;
        counts.pulled += report.pulled as u64;
        counts.held_back = report.held_back as u64;
        counts.left_out = report.left_out as u64;
    }

    /// Counts objects that were delivered between passes.
    pub(super) fn count_delivery(&self, pushed: usize) {
        self.counted().pushed += pushed as u64;
    }

    /// Counts a pass or a delivery that failed.
    pub(super) fn count_failure(&self) {
        let mut counts = self.counted();
        counts.in_step = Some(false);
        counts.failed_passes += 1;
    }

    fn reach(&self) -> MutexGuard<'_, Reach> {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counted(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_news() {
        let (status, at) = (Status::default(), OffsetDateTime::UNIX_EPOCH);
        assert!(!status.in_step());
        let (slow, broken) = (Failure::Store(Error::Slow), Failure::Store(Error::Broken));
        assert!(status.away(&slow, at) && !status.away(&slow, at));
        assert!(status.away(&broken, at));
        assert_eq!(
            status.line(),
            "store away since 1970-01-01T00:00:00Z: it breaks off in the middle of an answer"
        );
        assert!(status.in_step() && !status.in_step());
    }
}
