//! Events of a gateway's generations. They are immutable. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

use super::BlobId;
use super::By;
use super::EventId;
use super::Variables;
use crate::identity::Fingerprint;

/// Version of most event objects that this program writes: see [`Kind::format`].
pub const FORMAT: u32 = 1;

/// Newest version of event objects that this program reads.
pub const KNOWN_FORMAT: u32 = 2;

/// A stored event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    /// [`Kind::format`] of what it says.
    pub format: u32,
    /// The time by the clock of the host that wrote it. It is for people; the order comes from the
    /// id.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Author and reason, if a person did it. Older versions left it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
    /// The kind of event.
    #[serde(flatten)]
    pub kind: Kind,
}

/// The kind of event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Kind {
    /// A generation was stored. No gateway gets it yet.
    Published {
        /// The number that its publisher chose.
        number: u64,
        /// Its files by path.
        files: BTreeMap<String, Asset>,
        /// Settings for its boot script. Older versions know none.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        variables: Variables,
    },
    /// A generation became the current one.
    Activated {
        /// Id of the event that published it.
        generation: EventId,
    },
    /// A generation was pinned: gateways get it regardless of assessment.
    Pinned {
        /// Id of the event that published it.
        generation: EventId,
    },
    /// The pin was removed.
    Released,
    /// A gateway was sent to a generation: one try of it.
    Booted {
        /// Id of the event that published the generation.
        generation: EventId,
        /// The gateway's certificate. Once it is revoked, the boot cannot be acknowledged. Older
        /// versions left it out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        certificate: Option<Fingerprint>,
    },
    /// The booted system acknowledged the boot.
    Acknowledged {
        /// Id of the event that began the boot.
        boot: EventId,
    },
    /// The files of a generation may be removed, for it is no longer needed. Whoever had already
    /// activated it again, unknown to the writer, prevails.
    Dropped {
        /// Id of the event that published it.
        generation: EventId,
        /// Id of its last activation that the writer knew.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<EventId>,
    },
}

impl Kind {
    /// The oldest version of event objects that has this kind. Others are written as before, so
    /// that boot hosts with an older program can read them.
    pub fn format(&self) -> u32 {
        match self {
            Self::Dropped { .. } => 2,
            _ => FORMAT,
        }
    }
}

/// A file of a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Asset {
    /// SHA-256 of its bytes.
    pub sha256: BlobId,
    /// Size in bytes.
    pub size: u64,
}

/// Path of the boot script within a generation.
pub const BOOT_SCRIPT: &str = "boot.ipxe";

/// Longest boot script, in bytes. iPXE holds it in memory beside the kernel, and the server renders
/// it in memory.
pub const MAX_SCRIPT_LEN: u64 = 1024 * 1024;

/// Path of the secrets template within a generation. Never served as a file.
pub const SECRETS: &str = "secrets";

#[cfg(test)]
mod tests {
    use super::*;

    /// Older versions know no variables; what has none is written as they write it.
    #[test]
    fn a_generation_may_have_variables() {
        let before =
            r#"{"format":1,"at":"1970-01-01T00:00:00Z","kind":"published","number":7,"files":{}}"#;
        let event = |variables| Event {
            format: FORMAT,
            at: OffsetDateTime::UNIX_EPOCH,
            by: None,
            kind: Kind::Published { number: 7, files: BTreeMap::new(), variables },
        };
        assert_eq!(serde_json::from_str::<Event>(before).unwrap(), event(Variables::new()));
        assert_eq!(serde_json::to_string(&event(Variables::new())).unwrap(), before);
        let with = event(Variables::from([("disk".parse().unwrap(), "sda b".to_owned())]));
        let text = serde_json::to_string(&with).unwrap();
        assert!(text.ends_with(r#""files":{},"variables":{"disk":"sda b"}}"#), "{text}");
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), with);
    }

    /// Version 0.1 wrote it so, and reads it so.
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
            by: None,
            kind: Kind::Booted { generation, certificate },
        };
        assert_eq!(serde_json::from_str::<Event>(&before).unwrap(), event(None));
        assert_eq!(serde_json::to_string(&event(None)).unwrap(), before);
        let named = event(Some(Fingerprint::from_bytes([0xab; 32])));
        let text = serde_json::to_string(&named).unwrap();
        assert!(text.starts_with(&before[..before.len() - 1]), "{text}");
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), named);
    }

    /// Version 0.1 ignores the author, and its own events have none.
    #[test]
    fn an_event_may_be_without_its_author() {
        let at = OffsetDateTime::UNIX_EPOCH;
        let event = |by| Event { format: FORMAT, at, by, kind: Kind::Released };
        let before = r#"{"format":1,"at":"1970-01-01T00:00:00Z","kind":"released"}"#;
        assert_eq!(serde_json::from_str::<Event>(before).unwrap(), event(None));
        assert_eq!(serde_json::to_string(&event(None)).unwrap(), before);
        let named = event(Some(By::new("ada@boot-1").with_message("new kernel")));
        let text = serde_json::to_string(&named).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), named);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap()["by"],
            serde_json::json!({ "author": "ada@boot-1", "message": "new kernel" })
        );
    }
}
