use std::time::Duration;

/// The longest wait, unless the store asks for more.
const LONGEST: Duration = Duration::from_secs(60);

/// How long to wait after so many failures in a row: twice as long each time, and a random
/// part of it (`random` is between 0 and 1) less, so that boot hosts do not come back all at
/// once. Never less than the store asks for.
pub(super) fn wait(
    interval: Duration,
    failures: u32,
    retry_after: Option<Duration>,
    random: f64,
) -> Duration {
    let full = interval.saturating_mul(1 << failures.min(16)).min(LONGEST.max(interval));
    let jittered = full.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0);
    jittered.max(retry_after.unwrap_or_default())
}

/// Between 0 and 1.
pub(super) fn random() -> f64 {
    let bytes = uuid::Uuid::new_v4().into_bytes();
    f64::from(u16::from_le_bytes([bytes[0], bytes[1]])) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn grows_to_a_minute_and_heeds_the_store(
            failures in 0u32..100, random in 0.0f64..=1.0, asked in 0u64..10_000, every in 1u64..900,
        ) {
            let (asked, every) = (Duration::from_secs(asked), Duration::from_secs(every));
            let waits = wait(every, failures, Some(asked), random);
            prop_assert!(waits >= asked && waits >= every / 2);
            prop_assert!(waits <= asked.max(LONGEST).max(every));
            prop_assert!(wait(every, failures, None, 0.0) <= wait(every, failures + 1, None, 0.0));
        }
    }
}
