//! The clock: from a time server where one is named, else from the boot host. A clock that was never
//! set begins in 1970 or 2000, or stands years ahead, and then no certificate is valid.

use std::fs;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use rustix::time::ClockId;
use rustix::time::Timespec;
use rustix::time::clock_settime;

use super::console::say;
use super::host::Host;
use crate::profile::report::Step;

mod sntp;

/// Holds when the initramfs was made, in seconds since 1970.
const BUILT: &str = "/etc/farmgate/built";
/// A clock that is off by less is left alone: the boot host's `Date` has no fractions.
const CLOSE: u64 = 2;

/// The verdict on the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Decision {
    /// The time to set, in seconds since 1970.
    set: Option<u64>,
    /// The time that was offered is before this program was made, so it is wrong.
    refused: bool,
}

/// Decides for a clock that shows `now`, on a system that was made at `built`.
fn decide(now: u64, built: u64, offered: Option<u64>) -> Decision {
    let refused = offered.is_some_and(|offered| offered < built);
    let right = match offered {
        Some(offered) if !refused => offered,
        _ => now.max(built),
    };
    Decision { set: (right.abs_diff(now) >= CLOSE).then_some(right), refused }
}

/// Sets the clock, and tells from whom it has the time. `host` is the boot host if it answers.
pub fn set(ntp: Option<&str>, host: Option<&Host>) -> Step {
    let built = fs::read_to_string(BUILT).ok().and_then(|text| text.trim().parse().ok());
    let built = built.unwrap_or(0);
    let asked = ntp.and_then(|server| match sntp::ask(server) {
        Ok(time) => Some(("ntp", time)),
        Err(error) => {
            say(&format!("the time server {server} does not tell the time: {error}"));
            None
        }
    });
    let offered = asked.or_else(|| match host?.date() {
        Ok(time) => Some(("boot-host", time)),
        Err(error) => {
            say(&format!("the boot host does not tell the time: {error}"));
            None
        }
    });
    let before = now();
    let decision = decide(before, built, offered.map(|(_, time)| time));
    if decision.refused {
        say("the time that was told is before this program was made: it is not believed");
    }
    if let Some(time) = decision.set {
        let time = Timespec { tv_sec: time.cast_signed(), tv_nsec: 0 };
        if let Err(error) = clock_settime(ClockId::Realtime, time) {
            say(&format!("the clock cannot be set: {error}"));
        }
    }
    let source = offered.filter(|_| !decision.refused).map_or("clock", |(source, _)| source);
    let forward = decision.set.map_or(0, |time| time.saturating_sub(before));
    say(&format!("the time is that of {source}, {forward} s later than the clock said"));
    Step::Time { source: source.to_owned(), forward }
}

fn now() -> u64 {
    // Before 1970 is as wrong as 1970.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BUILT: u64 = 1_764_000_000;

    #[test]
    fn clocks_of_1980_and_2040_are_set_right() {
        let right = BUILT + 1000;
        for now in [315_532_800, 2_208_988_800] {
            assert_eq!(
                decide(now, BUILT, Some(right)),
                Decision { set: Some(right), refused: false }
            );
        }
        assert_eq!(decide(right + 1, BUILT, Some(right)), Decision { set: None, refused: false });
    }

    #[test]
    fn without_a_time_the_clock_is_at_least_when_it_was_made() {
        assert_eq!(decide(0, BUILT, None), Decision { set: Some(BUILT), refused: false });
        assert_eq!(decide(BUILT + 9, BUILT, None), Decision { set: None, refused: false });
        assert_eq!(decide(0, BUILT, Some(5)), Decision { set: Some(BUILT), refused: true });
    }

    proptest! {
        #[test]
        fn the_clock_never_ends_before_the_build(
            now in 0u64..1 << 33, built in 0u64..1 << 33, offered in prop::option::of(0u64..1 << 33),
        ) {
            let decision = decide(now, built, offered);
            let after = decision.set.unwrap_or(now);
            prop_assert!(after + CLOSE > built);
            if let Some(offered) = offered.filter(|offered| *offered >= built) {
                prop_assert!(after.abs_diff(offered) < CLOSE);
            } else {
                prop_assert!(after >= now);
            }
        }
    }
}
