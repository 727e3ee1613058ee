//! The names of leases' files. Pure.

use std::fmt;

use sha2::Digest;
use sha2::Sha256;
use time::OffsetDateTime;

use super::lease::Lease;
use crate::fleet::unix_millis;

/// The name of a lease's file: `MADE-ENDS-LEFT-DIGEST`. To end a lease, or to use up a reading, is
/// to rename or remove the file: both work on a full disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slip {
    /// In milliseconds since the Unix epoch. It comes first, so the oldest lease sorts first.
    pub(super) made: u64,
    /// The first millisecond after the lease has expired.
    pub(super) ends: u64,
    /// Remaining readings, at least 1.
    pub(super) left: u32,
    /// SHA-256 of the token, as hex digits.
    pub(super) digest: String,
}

impl Slip {
    /// The slip of a lease with so many remaining readings.
    pub(super) fn new(lease: &Lease, left: u32, digest: String) -> Self {
        let made = unix_millis(lease.made);
        Self { made, ends: made.saturating_add(u64::from(lease.seconds) * 1000), left, digest }
    }

    /// Says whether the lease is valid. A clock that stands before the lease was made does not tell
    /// its age, so that ends it, too.
    pub(super) fn lasts(&self, now: OffsetDateTime) -> bool {
        (self.made..self.ends).contains(&unix_millis(now))
    }

    /// Reads the name of a file; `None` if it is not one that [`fmt::Display`] writes.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('-');
        let slip = Self {
            made: parts.next()?.parse().ok()?,
            ends: parts.next()?.parse().ok()?,
            left: parts.next()?.parse().ok().filter(|left| *left > 0)?,
            digest: parts.next().filter(|text| is_digest(text))?.to_owned(),
        };
        (slip.to_string() == name).then_some(slip)
    }

    /// The slip after one reading; `None` if that was the last one.
    pub(super) fn after_reading(&self) -> Option<Self> {
        (self.left > 1).then(|| Self { left: self.left - 1, ..self.clone() })
    }
}

impl fmt::Display for Slip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { made, ends, left, digest } = self;
        write!(f, "{made}-{ends}-{left}-{digest}")
    }
}

/// The digest of a token. No more of a token is stored.
pub(super) fn digest(token: &str) -> String {
    hex::encode(Sha256::digest(token))
}

/// Says whether `text` is a SHA-256 as [`digest`] writes it.
pub(super) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_is_read_as_it_was_written(
            made: u64, ends: u64, left in 1u32.., digest in "[0-9a-f]{64}",
        ) {
            let slip = Slip { made, ends, left, digest };
            prop_assert_eq!(Slip::parse(&slip.to_string()), Some(slip));
        }

        #[test]
        fn what_else_is_read_is_what_would_be_written(name in "[0-9a-f+-]{0,80}|[0-9]{1,3}-[0-9]{1,3}-[0-9]{1,2}-[0-9a-fA-F]{64}") {
            if let Some(slip) = Slip::parse(&name) {
                prop_assert_eq!(slip.to_string(), name);
            }
        }
    }
}
