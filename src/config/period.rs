//! Durations: a whole number and its unit, such as `30s`, `5m`, `24h` or `7d`. Pure.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::Deserializer;
use serde::de;

use super::text::parsed;

/// A thousand years. More than this, added to the time of day, is out of range.
const LONGEST: Duration = Duration::from_secs(365_000 * DAY);

const DAY: u64 = 24 * 60 * 60;

/// Units and their seconds, the longest first.
const UNITS: [(&str, u64); 4] = [("d", DAY), ("h", 60 * 60), ("m", 60), ("s", 1)];

const EXPECTED: &str = "a whole number and s, m, h or d, such as \"90s\"";

/// A duration of whole seconds, as configurations and command lines write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

impl Period {
    /// The duration.
    pub fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for Period {
    type Err = ParsePeriodError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (count, seconds) = UNITS
            .iter()
            .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, *seconds)))
            .ok_or_else(|| ParsePeriodError::Malformed(text.to_owned()))?;
        // A plus sign was always accepted.
        let digits = count.strip_prefix('+').unwrap_or(count);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ParsePeriodError::Malformed(text.to_owned()));
        }
        let total = digits.parse().ok().and_then(|count: u64| count.checked_mul(seconds));
        let total = total.map(Duration::from_secs).filter(|total| *total <= LONGEST);
        total.map(Self).ok_or_else(|| ParsePeriodError::TooLong(text.to_owned()))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.0.as_secs();
        let whole = UNITS.iter().find(|(_, seconds)| total != 0 && total.is_multiple_of(*seconds));
        let (unit, seconds) = whole.unwrap_or(&("s", 1));
        write!(f, "{}{unit}", total / seconds)
    }
}

/// The text is not a duration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParsePeriodError {
    /// Not a number and a unit.
    #[error("{0:?} is not a duration: expected {EXPECTED}")]
    Malformed(String),
    /// A duration that no clock can count.
    #[error("{0:?} is too long: expected at most {longest}", longest = Period(LONGEST))]
    TooLong(String),
}

/// Deserializes a duration, which may be zero.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    parsed(deserializer, EXPECTED).map(Period::get)
}

/// Deserializes a duration of at least a second.
pub(super) fn deserialize_positive<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    let period: Period = parsed(deserializer, EXPECTED)?;
    if period.0.is_zero() {
        let error = format!("\"{period}\" is too short: expected at least \"1s\"");
        return Err(de::Error::custom(error));
    }
    Ok(period.0)
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, EXPECTED)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(text: &str) -> u64 {
        text.parse::<Period>().unwrap().get().as_secs()
    }

    #[test]
    fn every_unit_has_one_meaning() {
        assert_eq!(["0s", "30s", "5m", "24h", "7d"].map(seconds), [0, 30, 300, 86_400, 604_800]);
        assert_eq!(["+5s", "007m", "365000d"].map(seconds), [5, 420, LONGEST.as_secs()]);
        for bad in ["", "5", "s", "-5s", "++5s", "5 s", " 5s", "5S", "5ms", "1h30m", "1.5h", "٣s"]
        {
            let error = bad.parse::<Period>().unwrap_err();
            assert_eq!(error, ParsePeriodError::Malformed(bad.to_owned()));
        }
        for long in ["365001d", "99999999999999999999s", "18446744073709551615d"] {
            let error = long.parse::<Period>().unwrap_err();
            assert_eq!(error, ParsePeriodError::TooLong(long.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(total in 0..=LONGEST.as_secs(), unit in 0..4usize) {
            let total = total / UNITS[unit].1 * UNITS[unit].1;
            let period = Period(Duration::from_secs(total));
            prop_assert_eq!(period.to_string().parse(), Ok(period));
        }

        #[test]
        fn what_is_read_is_shown_and_read_as_the_same(text in "\\+?[0-9]{1,12}[smhd]") {
            if let Ok(period) = text.parse::<Period>() {
                prop_assert_eq!(period.to_string().parse(), Ok(period));
            }
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = text.parse::<Period>();
        }
    }
}
