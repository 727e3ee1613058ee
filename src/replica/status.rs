use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error::Error;
use super::pass::Report;

/// How it stands with the common store.
#[derive(Default)]
pub(super) struct Status {
    now: Mutex<Now>,
    counts: Mutex<Counts>,
}

/// What came of passes and fetches since the server started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Whether the last pass went well; `None` before there was one.
    pub in_step: Option<bool>,
    /// When a pass last went well.
    pub last_pass: Option<OffsetDateTime>,
    /// Passes that failed.
    pub failed_passes: u64,
    /// Objects that were delivered.
    pub pushed: u64,
    /// Objects that were brought here.
    pub pulled: u64,
    /// Generations that waited for their files in the last pass.
    pub held_back: u64,
    /// Objects that this program could not read in the last pass.
    pub left_out: u64,
    /// Files that were brought here.
    pub fetched: u64,
    /// Files that could not be had, each time that it was tried.
    pub failed_fetches: u64,
}

#[derive(Default)]
enum Now {
    /// It was not asked yet.
    #[default]
    Unknown,
    InStep,
    Away {
        since: OffsetDateTime,
        error: Error,
    },
}

impl Status {
    /// A line for people.
    pub(super) fn line(&self) -> String {
        match &*self.lock() {
            Now::Unknown => "store not asked yet".to_owned(),
            Now::InStep => "store in step".to_owned(),
            Now::Away { since, error } => {
                let since = since.replace_nanosecond(0).unwrap_or(*since);
                let since = since.format(&Rfc3339).unwrap_or_default();
                format!("store away since {since}: it {error}")
            }
        }
    }

    /// A pass went well. Whether that is news.
    pub(super) fn in_step(&self) -> bool {
        let mut now = self.lock();
        let news = matches!(*now, Now::Away { .. });
        *now = Now::InStep;
        news
    }

    /// A pass failed. Whether that, or why it did, is news.
    pub(super) fn away(&self, new: Error, at: OffsetDateTime) -> bool {
        let mut now = self.lock();
        match &mut *now {
            Now::Away { error, .. } => {
                // How long it asks us to wait differs each time.
                let news = error.to_string() != new.to_string();
                *error = new;
                news
            }
            _ => {
                *now = Now::Away { since: at, error: new };
                true
            }
        }
    }

    /// How often what happened.
    pub(super) fn counts(&self) -> Counts {
        *self.count()
    }

    /// Counts a pass that ended `at` this moment; `None` if it failed.
    pub(super) fn passed(&self, report: Option<&Report>, at: OffsetDateTime) {
        let mut counts = self.count();
        counts.in_step = Some(report.is_some());
        let Some(report) = report else {
            counts.failed_passes += 1;
            return;
        };
        counts.last_pass = Some(at);
        counts.pushed += report.pushed as u64;
        counts.pulled += report.pulled as u64;
        counts.held_back = report.held_back as u64;
        counts.left_out = report.left_out as u64;
    }

    /// Counts a fetch.
    pub(super) fn fetched(&self, came: bool) {
        let mut counts = self.count();
        *(if came { &mut counts.fetched } else { &mut counts.failed_fetches }) += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self) -> MutexGuard<'_, Counts> {
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
        assert!(status.away(Error::Slow, at) && !status.away(Error::Slow, at));
        assert!(status.away(Error::Broken, at));
        assert_eq!(
            status.line(),
            "store away since 1970-01-01T00:00:00Z: it breaks off in the middle of an answer"
        );
        assert!(status.in_step() && !status.in_step());
    }
}
