use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error::Error;

/// How it stands with the common store.
#[derive(Default)]
pub(super) struct Status {
    now: Mutex<Now>,
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

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
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
