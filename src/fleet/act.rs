//! Acts of people and the server that no event of a gateway tells of: certificates, gateways that
//! came and went, keys of buckets, rollouts. They are immutable, decide nothing, and never hold a
//! certificate, a key or a secret. Pure.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

use super::Assessment;
use super::By;
use super::EventId;
use super::GatewayId;
use super::Record;
use crate::foreign::Foreign;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;

/// Version of the acts that this program writes.
pub const FORMAT: u32 = 1;

/// One act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Act {
    /// [`FORMAT`] of the program that wrote it.
    pub format: u32,
    /// The time by the clock of the host that wrote it.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Its author and reason; none if the server did it by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
    pub what: What,
    /// The gateway's name at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_id: Option<GatewayId>,
    /// The certificates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fingerprints: Vec<Fingerprint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<EventId>,
    /// More about it, in a few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Foreign>,
}

/// The kind of act. A newer version may know more of them; those are shown without their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// A gateway was added, with its first certificate.
    GatewayAdded,
    /// It was removed, and its certificates revoked.
    GatewayRemoved,
    /// It got another name.
    GatewayRenamed,
    /// A certificate was issued to an existing gateway.
    CertificateRenewed,
    /// A certificate that the CA had issued elsewhere was taken over.
    CertificateTakenOver,
    /// Certificates were revoked.
    CertificateRevoked,
    /// Its group, labels or assessment changed.
    GatewayChanged,
    /// The key of a bucket was ordered to be replaced.
    KeyRotated,
    /// A key for a bucket was made.
    KeyMade,
    /// A key of a bucket was deleted.
    KeyDeleted,
    RolloutBegun,
    /// An operator stopped it.
    RolloutStopped,
    /// It stopped by itself.
    RolloutFailed,
    /// Its gateways got back what they had.
    RolloutTakenBack,
    RolloutResumed,
    RolloutFinished,
    /// One of a newer version.
    #[serde(other)]
    Unknown,
}

impl Act {
    pub fn new(what: What, by: Option<&By>, now: OffsetDateTime) -> Self {
        Self {
            format: FORMAT,
            at: now,
            by: by.cloned(),
            what,
            gateway: None,
            gateway_id: None,
            fingerprints: Vec::new(),
            rollout: None,
            detail: None,
        }
    }

    /// The change of a record by an operator; `None` if nothing that people decide is different.
    pub fn of_change(
        before: &Record,
        after: &Record,
        by: &By,
        now: OffsetDateTime,
    ) -> Option<Self> {
        let mut parts = Vec::new();
        let mut part = |what: &str, before: Option<&str>, after: Option<&str>| {
            if before != after {
                let shown = |value: Option<&str>| value.unwrap_or("none").to_owned();
                parts.push(format!("{what} {} → {}", shown(before), shown(after)));
            }
        };
        let group = |record: &'_ Record| record.group.as_ref().map(ToString::to_string);
        part("group", group(before).as_deref(), group(after).as_deref());
        let names: BTreeSet<_> = before.labels.keys().chain(after.labels.keys()).collect();
        for name in names {
            let value = |record: &'_ Record| record.labels.get(name).cloned();
            part(&format!("label {name}"), value(before).as_deref(), value(after).as_deref());
        }
        let assessment = |record: &Record| match record.assessment {
            Assessment::Default => "default",
            Assessment::None => "none",
        };
        part("assessment", Some(assessment(before)), Some(assessment(after)));
        let detail = parts.join(", ");
        (!parts.is_empty())
            .then(|| Self::new(What::GatewayChanged, Some(by), now).of(after).with_detail(&detail))
    }

    /// The same, about this gateway.
    #[must_use]
    pub fn of(self, record: &Record) -> Self {
        let (gateway, gateway_id) = (Some(record.name.clone()), Some(record.id.clone()));
        Self { gateway, gateway_id, ..self }
    }

    /// The same, about these certificates.
    #[must_use]
    pub fn with_certificates(self, fingerprints: impl IntoIterator<Item = Fingerprint>) -> Self {
        Self { fingerprints: fingerprints.into_iter().collect(), ..self }
    }

    /// The same, about this rollout.
    #[must_use]
    pub fn in_rollout(self, rollout: EventId) -> Self {
        Self { rollout: Some(rollout), ..self }
    }

    /// The same, with a few more words.
    #[must_use]
    pub fn with_detail(self, detail: &str) -> Self {
        Self { detail: Some(Foreign::new(detail)), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_of_a_newer_version_is_no_damage() {
        let text = r#"{"format":1,"at":"1970-01-01T00:00:00Z","what":"moon-landed","where":3}"#;
        assert_eq!(serde_json::from_str::<Act>(text).unwrap().what, What::Unknown);
        let by = By::new("ada").with_message("stolen");
        let act = Act::new(What::CertificateRevoked, Some(&by), OffsetDateTime::UNIX_EPOCH)
            .with_certificates([Fingerprint::from_bytes([0xab; 32])]);
        let text = serde_json::to_string(&act).unwrap();
        assert!(text.contains(r#""what":"certificate-revoked","fingerprints":["abab"#), "{text}");
        assert_eq!(serde_json::from_str::<Act>(&text).unwrap(), act);
    }
}
