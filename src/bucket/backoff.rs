use std::time::Duration;

/// The first wait after a failure.
const FIRST: Duration = Duration::from_secs(10);

/// The longest, also if the provider asks for more.
pub(super) const LONGEST: Duration = Duration::from_secs(60 * 60);

/// How long to wait after so many failures in a row: twice as long each time, and a
/// random part of it (`random` is between 0 and 1) less, so that a fleet does not come back
/// all at once. Never less than the provider asks for (`Retry-After`).
pub(super) fn wait(failures: u32, retry_after: Option<Duration>, random: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let full = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    let jittered = full.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0);
    jittered.max(retry_after.unwrap_or_default()).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn grows_to_an_hour_and_heeds_the_provider(
            failures in 1u32..100, random in 0.0f64..=1.0, asked in 0u64..10_000,
        ) {
            let asked = Duration::from_secs(asked);
            let waits = wait(failures, Some(asked), random);
            prop_assert!(waits >= asked.min(LONGEST) && waits <= LONGEST);
            prop_assert!(waits >= FIRST / 2);
            prop_assert!(wait(failures, None, random) <= wait(failures, None, 0.0));
            prop_assert!(wait(failures, None, 0.0) <= wait(failures + 1, None, 0.0));
        }
    }

    #[test]
    fn begins_with_seconds() {
        assert_eq!(wait(1, None, 0.0), Duration::from_secs(10));
        assert_eq!(wait(2, None, 0.0), Duration::from_secs(20));
        assert_eq!(wait(50, None, 0.0), LONGEST);
    }
}
