//! Sizes in bytes: a whole number and its unit, such as `500MB`, `20G` or `20GiB`. Pure.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::de;

use super::text::parsed;

/// Units for showing a size, the largest first: with exactly one `B` each.
const SHOWN: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1000),
];

const EXPECTED: &str = "a whole number and B, kB, MB, GB or TB (powers of 1000; the B may be left \
                        out) or KiB, MiB, GiB or TiB (powers of 1024), such as \"20GB\"";

/// A number of bytes, as configurations write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

impl Size {
    /// So many bytes.
    pub const fn of(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

/// The bytes in one of `unit`. `k` and `K` are both 1000, as nobody can tell them apart reliably;
/// only the `i` makes a power of 1024.
fn bytes_in(unit: &str) -> Option<u64> {
    Some(match unit {
        "B" => 1,
        "k" | "K" | "kB" | "KB" => 1000,
        "M" | "MB" => 1_000_000,
        "G" | "GB" => 1_000_000_000,
        "T" | "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    })
}

impl FromStr for Size {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || ParseSizeError::Malformed(text.to_owned());
        // A plus sign, and space before the unit, were accepted by one key each.
        let number = text.strip_prefix('+').unwrap_or(text);
        let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
        let (digits, unit) = number.split_at(end);
        let unit = bytes_in(unit.trim_start()).ok_or_else(malformed)?;
        if digits.is_empty() {
            return Err(malformed());
        }
        let bytes = digits.parse().ok().and_then(|count: u64| count.checked_mul(unit));
        bytes.map(Self).ok_or_else(|| ParseSizeError::TooLarge(text.to_owned()))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = SHOWN.iter().find(|(_, unit)| self.0 != 0 && self.0.is_multiple_of(*unit));
        let (name, unit) = whole.unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / unit)
    }
}

/// The text is not a size.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSizeError {
    /// Not a number and a unit.
    #[error("{0:?} is not a size: expected {EXPECTED}")]
    Malformed(String),
    /// More bytes than 64 bits can count.
    #[error("{0:?} is too large: expected at most {largest}", largest = Size(u64::MAX))]
    TooLarge(String),
}

/// Deserializes the bytes of an optional size, which may be zero.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    parsed(deserializer, EXPECTED).map(|size: Size| Some(size.0))
}

/// Deserializes the bytes of an optional size of at least one byte.
pub(super) fn deserialize_positive<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    let size: Size = parsed(deserializer, EXPECTED)?;
    if size.0 == 0 {
        let error = format!("\"{size}\" is too small: expected at least \"1B\"");
        return Err(de::Error::custom(error));
    }
    Ok(Some(size.0))
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, EXPECTED)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(text: &str) -> u64 {
        text.parse::<Size>().unwrap().bytes()
    }

    #[test]
    fn every_unit_has_one_meaning() {
        for (texts, expected) in [
            (&["1k", "1K", "1kB", "1KB", "1000B"] as &[_], 1000),
            (&["1M", "1MB"], 1_000_000),
            (&["1G", "1GB", "+1G", "1 GB", "0001G"], 1_000_000_000),
            (&["1T", "1TB"], 1_000_000_000_000),
            (&["1KiB", "1024B"], 1024),
            (&["1MiB", "1024KiB"], 1 << 20),
            (&["1GiB"], 1 << 30),
            (&["1TiB"], 1 << 40),
            (&["0B", "0G"], 0),
            (&["18446744073709551615B"], u64::MAX),
        ] {
            for text in texts {
                assert_eq!(bytes(text), expected, "{text}");
            }
        }
        for bad in
            ["", "20", "G", "B", "-1G", "++1G", "20g", "20gb", "20Gb", "20Gi", "1.5G", "1 G B"]
        {
            let error = bad.parse::<Size>().unwrap_err();
            assert_eq!(error, ParseSizeError::Malformed(bad.to_owned()));
        }
        for large in ["99999999999T", "16777216TiB", "18446744073709551616B"] {
            let error = large.parse::<Size>().unwrap_err();
            assert_eq!(error, ParseSizeError::TooLarge(large.to_owned()));
        }
    }

    /// The spellings that `[store] cache-size` and `[buckets] quota` accepted while each had a grammar of its own.
    mod before {
        pub(super) fn cache_size(text: &str) -> Option<u64> {
            let (count, unit) = text.split_at_checked(text.len().saturating_sub(1))?;
            let count: u64 = count.parse().ok()?;
            let power = "kMGT".find(unit).filter(|_| !unit.is_empty())?;
            count.checked_mul(1000u64.pow(power as u32 + 1))
        }

        pub(super) fn quota(text: &str) -> Option<u64> {
            let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let (count, unit) = text.split_at(digits);
            let unit = match unit.trim_start() {
                "MB" => 1_000_000,
                "GB" => 1_000_000_000,
                "TB" => 1_000_000_000_000,
                "KiB" => 1 << 10,
                "MiB" => 1 << 20,
                "GiB" => 1 << 30,
                "TiB" => 1_u64 << 40,
                _ => return None,
            };
            count.parse().ok().and_then(|count: u64| count.checked_mul(unit))
        }
    }

    proptest! {
        #[test]
        fn what_either_key_accepted_means_the_same_bytes(
            text in "\\+?[0-9]{1,14}[ \t]{0,2}(k|K|M|G|T)?(i?B)?",
        ) {
            let now = text.parse::<Size>().ok().map(Size::bytes);
            for before in [before::cache_size(&text), before::quota(&text)] {
                prop_assert!(before.is_none() || before == now, "{text}: {before:?}, {now:?}");
            }
        }

        #[test]
        fn what_is_shown_is_read_as_the_same(bytes: u64, unit in 0..SHOWN.len()) {
            for bytes in [bytes, bytes / SHOWN[unit].1 * SHOWN[unit].1] {
                prop_assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
            }
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = text.parse::<Size>();
        }
    }
}
