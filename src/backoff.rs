//! Waits before retries: exponential backoff, jitter, and the server's `Retry-After`.
//! Pure but for [`jitter`], which asks the operating system for random bytes.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use time::OffsetDateTime;

/// The longest `Retry-After` that is heeded. A server that asks for more may have a wrong clock.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// More doublings than any two bounds are apart.
const MAX_DOUBLINGS: u32 = 24;

/// Waits that double from `first` to `longest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// Doubles from `first` to `longest`, or stays at `first` if that is longer.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// The wait after `earlier` waits in a row. `jitter`, between 0 and 1, takes up to half of it
    /// off, so that hosts that failed together do not return together. `retry_after` is a lower
    /// bound, up to [`LONGEST_RETRY_AFTER`].
    pub fn wait(&self, earlier: u32, retry_after: Option<Duration>, jitter: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << earlier.min(MAX_DOUBLINGS));
        let full = doubled.min(self.longest.max(self.first));
        // Of the half, because of the whole of the longest `Duration` this could overflow.
        let wait = full.saturating_sub((full / 2).mul_f64(jitter.clamp(0.0, 1.0)));
        wait.max(retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER))
    }
}

/// A random number between 0 and 1.
pub fn jitter() -> f64 {
    // Without random bytes hosts may return together, which is no reason to fail.
    getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX))
}

/// The `Retry-After` of an answer: seconds, or a date (RFC 9110, 10.2.3). `None` if it is missing,
/// malformed or in the past.
pub fn retry_after(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = OffsetDateTime::from(httpdate::parse_http_date(value).ok()?);
    (date - now).try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn grows_to_the_longest_and_heeds_the_server(
            first in 1u64..5000, longest in 0u64..5000, earlier in any::<u32>(),
            jitter in -1.0f64..=2.0, asked in any::<u32>(),
        ) {
            let backoff = Backoff::new(Duration::from_secs(first), Duration::from_secs(longest));
            let asked = Duration::from_secs(asked.into()).min(LONGEST_RETRY_AFTER);
            let (first, longest) = (backoff.first, backoff.longest.max(backoff.first));
            let wait = backoff.wait(earlier, Some(asked), jitter);
            prop_assert!(wait >= asked && wait >= first / 2 && wait <= longest.max(asked));
            prop_assert!(backoff.wait(earlier, None, jitter) <= backoff.wait(earlier, None, 0.0));
            let later = backoff.wait(earlier.saturating_add(1), None, 0.0);
            prop_assert!(backoff.wait(earlier, None, 0.0) <= later);
        }

        #[test]
        fn jitter_is_a_share(_ in 0..100) {
            prop_assert!((0.0..=1.0).contains(&jitter()));
        }

        #[test]
        fn no_header_panics(value in "\\PC*", now in -62_000_000_000i64..250_000_000_000) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = value.parse() {
                headers.insert(RETRY_AFTER, value);
            }
            let now = OffsetDateTime::from_unix_timestamp(now).unwrap();
            retry_after(&headers, now);
        }
    }

    #[test]
    fn doubles_up_to_the_longest() {
        let backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(60));
        let waits = [0, 1, 2, 3, u32::MAX].map(|earlier| backoff.wait(earlier, None, 0.0));
        assert_eq!(waits.map(|wait| wait.as_secs()), [10, 20, 40, 60, 60]);
        assert_eq!(backoff.wait(0, None, 1.0), Duration::from_secs(5));
        let days = Some(Duration::from_secs(1 << 40));
        assert_eq!(backoff.wait(0, days, 0.0), LONGEST_RETRY_AFTER);
    }

    #[test]
    fn retry_after_is_read_in_every_form() {
        let now = OffsetDateTime::from_unix_timestamp(1_445_412_480).unwrap(); // 07:28:00
        for (value, expected) in [
            ("4", Some(4)),
            ("Wed, 21 Oct 2015 07:29:00 GMT", Some(60)),
            ("Wednesday, 21-Oct-15 07:29:00 GMT", Some(60)),
            ("Wed Oct 21 07:29:00 2015", Some(60)),
            ("Wed, 21 Oct 2015 07:27:00 GMT", None),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
