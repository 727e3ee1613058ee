//! What happened to a gateway's generations, as immutable events. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::blobs::BlobId;
use crate::identity::Fingerprint;

/// Version of the event objects that this program writes.
pub const FORMAT: u32 = 1;

/// Name of an event: a UUIDv7 (RFC 9562, section 5.7), so that names sort by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(Uuid);

impl EventId {
    /// A new name: later than `last`, also when the clock was set back since.
    /// `now` is in milliseconds since the Unix epoch.
    pub fn after(last: Option<Self>, now: u64) -> Self {
        let earliest = last.map_or(0, |last| last.millis() + 1);
        let millis = now.max(earliest);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random()).into_uuid())
    }

    /// When it was made, by the clock of whoever made it.
    pub fn time(self) -> OffsetDateTime {
        let nanos = i128::from(self.millis()) * 1_000_000;
        OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    fn millis(self) -> u64 {
        // The first 48 bits (RFC 9562, section 5.7).
        (self.0.as_u128() >> 80) as u64
    }

    /// Reads the name of an event; `None` if `text` is none.
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

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One event, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    /// [`FORMAT`] of the program that wrote it.
    pub format: u32,
    /// When, by the clock of whoever wrote it. For people; order comes from the name.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// What happened.
    #[serde(flatten)]
    pub kind: Kind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Kind {
    /// A generation was stored. Nobody gets it yet.
    Published {
        /// The number that its publisher chose.
        number: u64,
        /// Its files by path.
        files: BTreeMap<String, Asset>,
    },
    /// From now on gateways get this generation.
    Activated {
        /// Name of the event that published it.
        generation: EventId,
    },
    /// Gateways get this generation whatever assessment says.
    Pinned {
        /// Name of the event that published it.
        generation: EventId,
    },
    /// The pin is gone.
    Released,
    /// A gateway was sent to a generation: one try of it.
    Booted {
        /// Name of the event that published the generation.
        generation: EventId,
        /// The certificate that the gateway came with: once it is revoked, the boot cannot be
        /// acknowledged. Older programs left it out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        certificate: Option<Fingerprint>,
    },
    /// The booted system says that it works.
    Acknowledged {
        /// Name of the event that began the boot.
        boot: EventId,
    },
}

/// Many events in one object, so that there are fewer. It adds nothing to them and
/// takes nothing from them, so it may stand beside those that are in it, or in another one too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pack {
    /// [`FORMAT`] of the program that wrote it.
    pub format: u32,
    /// The events by name.
    pub events: BTreeMap<EventId, Event>,
}

/// A file of a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Asset {
    /// Its bytes.
    pub sha256: BlobId,
    /// How many they are.
    pub size: u64,
}

/// Path of the boot script within a generation.
pub const BOOT_SCRIPT: &str = "boot.ipxe";

/// Longest boot script, in bytes. iPXE keeps it in memory beside the kernel, and
/// the server renders it in memory.
pub const MAX_SCRIPT_LEN: u64 = 1024 * 1024;

/// Path of the secrets template within a generation. Never served as a file.
pub const SECRETS: &str = "secrets";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As version 0.1 wrote it, and as it reads what is written now.
    #[test]
    fn a_boot_may_be_without_its_certificate() {
        let generation = EventId::parse("0192a8c0-0000-7000-8000-000000000007").unwrap();
        let at = OffsetDateTime::UNIX_EPOCH;
        let before = format!(
            r#"{{"format":1,"at":"1970-01-01T00:00:00Z","kind":"booted","generation":"{generation}"}}"#
        );
        let event = |certificate| Event {
            format: FORMAT,
            at,
            kind: Kind::Booted { generation, certificate },
        };
        assert_eq!(serde_json::from_str::<Event>(&before).unwrap(), event(None));
        assert_eq!(serde_json::to_string(&event(None)).unwrap(), before);
        let named = event(Some(Fingerprint::from_bytes([0xab; 32])));
        let text = serde_json::to_string(&named).unwrap();
        assert!(text.starts_with(&before[..before.len() - 1]), "{text}");
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), named);
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
