//! Ids of gateways, events and blobs. Pure.

use std::borrow::Borrow;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::foreign::Foreign;
use crate::identity::GatewayName;

/// Id of a gateway: its name, `-`, and digits that no other gateway ever had. It names a directory
/// of the store. An id is never used again; the name of a removed gateway can be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct GatewayId(Arc<str>);

/// The longest id: the longest name, plus more digits than this program adds.
const MAX_ID_LEN: usize = 80;

impl GatewayId {
    /// A new id for a gateway of this name.
    pub fn new(name: &GatewayName) -> Self {
        let suffix = &Uuid::new_v4().simple().to_string()[..8];
        Self(format!("{name}-{suffix}").into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the present or former gateway with this id. It is text, since an id may come
    /// from another program.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('-').map_or(&*self.0, |(name, _)| name)
    }
}

impl FromStr for GatewayId {
    type Err = ParseGatewayIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !text.is_empty() && text.len() <= MAX_ID_LEN && text.chars().all(plain) {
            Ok(Self(text.into()))
        } else {
            Err(ParseGatewayIdError(Foreign::shorter(text, MAX_ID_LEN)))
        }
    }
}

/// The text is not a gateway id.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a gateway id: lower-case letters, digits and hyphens, at most 80")]
pub struct ParseGatewayIdError(Foreign);

impl fmt::Display for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<Path> for GatewayId {
    fn as_ref(&self) -> &Path {
        Path::new(&*self.0)
    }
}

impl Borrow<str> for GatewayId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<GatewayId> for String {
    fn from(id: GatewayId) -> Self {
        id.as_str().to_owned()
    }
}

impl TryFrom<String> for GatewayId {
    type Error = ParseGatewayIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Id of an event: a UUIDv7 (RFC 9562, section 5.7), so that ids sort by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(Uuid);

impl EventId {
    /// A new id, later than `last` even if the clock was set back since. `now` is in milliseconds
    /// since the Unix epoch.
    pub fn after(last: Option<Self>, now: u64) -> Self {
        let earliest = last.map_or(0, |last| last.millis() + 1);
        let millis = now.max(earliest);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random()).into_uuid())
    }

    /// The time of creation, by the clock of the host that made it.
    pub fn time(self) -> OffsetDateTime {
        let nanos = i128::from(self.millis()) * 1_000_000;
        OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    fn millis(self) -> u64 {
        // The first 48 bits (RFC 9562, section 5.7).
        (self.0.as_u128() >> 80) as u64
    }

    /// The last digits, for people: among a few thousand ids, no two have the same.
    pub fn short(self) -> String {
        let digits = self.0.simple().to_string();
        digits[digits.len() - 8..].to_owned()
    }

    /// Parses an event id; `None` if `text` is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let uuid = Uuid::try_parse(text).ok()?;
        (uuid.get_version_num() == 7 && uuid.to_string() == text).then_some(Self(uuid))
    }
}

fn random() -> [u8; 10] {
    let mut bytes = [0; 10];
    // The version nibble of a UUIDv4 is at byte 6; the last eight hold 62 random bits.
    bytes.copy_from_slice(&Uuid::new_v4().as_bytes()[6..]);
    bytes
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// SHA-256 of a blob's bytes; shown as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct BlobId([u8; 32]);

impl BlobId {
    /// The id of the blob with this SHA-256.
    pub fn of_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The path of the blob below `blobs/`: one of 256 directories, then its id.
    pub fn path(&self) -> String {
        let name = self.to_string();
        format!("{}/{name}", &name[..2])
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobId({self})")
    }
}

impl FromStr for BlobId {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl From<BlobId> for String {
    fn from(id: BlobId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for BlobId {
    type Error = hex::FromHexError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_can_name_a_directory_and_nothing_above_it() {
        let name = "lab-1".parse().unwrap();
        let id = GatewayId::new(&name);
        assert_eq!(id.name(), "lab-1");
        assert_eq!(id.as_str().parse::<GatewayId>().unwrap(), id);
        for wrong in ["", ".", "..", "a/b", "A", "a b", &"a".repeat(81)] {
            assert!(wrong.parse::<GatewayId>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn names_grow_whatever_the_clock_does(
            clock in proptest::collection::vec(0u64..1 << 47, 1..50),
        ) {
            let mut last = None;
            for now in clock {
                let id = EventId::after(last, now);
                prop_assert!(Some(id) > last);
                prop_assert_eq!(EventId::parse(&id.to_string()), Some(id));
                last = Some(id);
            }
        }
    }
}
