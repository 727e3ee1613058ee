//! Revisions: the record of a gateway as several hosts know it. Pure: the merge is commutative,
//! associative and idempotent.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;
use time::OffsetDateTime;

use crate::fleet::CertificateState;
use crate::fleet::EventId;
use crate::fleet::OwnedCertificate;
use crate::fleet::Record;
use crate::identity::Certificate;
use crate::identity::Fingerprint;
use crate::identity::Serial;

/// Version of the revisions that this program writes.
pub const FORMAT: u32 = 1;

const CERTIFICATES: &str = "certificates";

/// One host's knowledge of a gateway's record at some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Revision {
    /// [`FORMAT`] of the program that wrote it.
    pub format: u32,
    /// The tombstone of a removed gateway. It is final: a gateway added later under the same name
    /// is another gateway.
    pub removed: bool,
    /// The revision that last changed `settings`; the latest one wins.
    pub settings_of: EventId,
    /// The record without its certificates.
    pub settings: Map<String, Value>,
    /// Its certificates. A retiring or revoked one never goes back.
    pub certificates: BTreeMap<Fingerprint, Shared>,
}

/// A certificate with all that another host needs to accept it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Shared {
    /// State of the certificate.
    pub state: CertificateState,
    /// End of validity.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// Serial number.
    pub serial: Serial,
    /// The certificate itself.
    pub pem: String,
}

impl Revision {
    /// The revision of `record`, with certificates `pems`.
    pub fn of(
        record: &Record,
        pems: &BTreeMap<Fingerprint, String>,
        settings_of: EventId,
    ) -> serde_json::Result<Self> {
        let mut settings = match serde_json::to_value(record)? {
            Value::Object(settings) => settings,
            _ => Map::new(),
        };
        settings.remove(CERTIFICATES);
        let certificates = record.certificates.iter().filter_map(|owned| {
            let shared = Shared {
                state: owned.state,
                not_after: owned.not_after,
                serial: owned.serial.clone(),
                pem: pems.get(&owned.fingerprint)?.clone(),
            };
            Some((owned.fingerprint, shared))
        });
        let certificates = certificates.collect();
        Ok(Self { format: FORMAT, removed: false, settings_of, settings, certificates })
    }

    /// The record that the revision describes. The certificate furthest along in its life comes
    /// first, as where they were issued: each renewal retires the earlier ones.
    pub fn record(&self) -> serde_json::Result<Record> {
        let owned = self.certificates.iter().map(|(fingerprint, shared)| OwnedCertificate {
            fingerprint: *fingerprint,
            serial: shared.serial.clone(),
            state: shared.state,
            not_after: shared.not_after,
        });
        let mut owned: Vec<_> = owned.collect();
        owned.sort_by_key(|owned| (Reverse(owned.state), owned.not_after, owned.fingerprint));
        let mut settings = self.settings.clone();
        settings.insert(CERTIFICATES.to_owned(), serde_json::to_value(owned)?);
        serde_json::from_value(Value::Object(settings))
    }

    /// Checks that each certificate has its stated fingerprint.
    pub fn is_sound(&self) -> bool {
        self.certificates.iter().all(|(fingerprint, shared)| {
            Certificate::from_pem(shared.pem.as_bytes())
                .is_ok_and(|certificate| certificate.fingerprint == *fingerprint)
        })
    }

    /// Merges two revisions.
    #[must_use]
    pub fn merge(mut self, other: &Self) -> Self {
        self.format = self.format.max(other.format);
        self.removed |= other.removed;
        // The content decides between two with the same id.
        let rank = |revision: &Self| (revision.settings_of, text(&revision.settings));
        if rank(other) > rank(&self) {
            self.settings_of = other.settings_of;
            self.settings = other.settings.clone();
        }
        for (fingerprint, theirs) in &other.certificates {
            self.certificates
                .entry(*fingerprint)
                .and_modify(|ours| *ours = ours.clone().max(theirs.clone()))
                .or_insert_with(|| theirs.clone());
        }
        self
    }

    /// Merges all revisions; `None` if there are none.
    pub fn fold<'a>(revisions: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut revisions = revisions.into_iter();
        let first = revisions.next()?.clone();
        Some(revisions.fold(first, |sum, revision| sum.merge(revision)))
    }
}

fn text(settings: &Map<String, Value>) -> String {
    Value::Object(settings.clone()).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn revision() -> impl Strategy<Value = Revision> {
        let certificates = proptest::collection::btree_map(0u8..4, 0u8..3, 0..4);
        (any::<bool>(), 0u64..5, 0u8..3, certificates).prop_map(
            |(removed, since, assessment, certificates)| {
                // Equal times with different ids, and equal ids: both happen.
                let name = format!("0192a8c0-0000-7000-8000-{since:012x}");
                let state = |n| match n {
                    0 => CertificateState::Active,
                    1 => CertificateState::Retiring,
                    _ => CertificateState::Revoked,
                };
                Revision {
                    format: FORMAT,
                    removed,
                    settings_of: EventId::parse(&name).unwrap(),
                    settings: Map::from_iter([("assessment".to_owned(), assessment.into())]),
                    certificates: certificates
                        .into_iter()
                        .map(|(n, s)| {
                            let fingerprint = hex::encode([n; 32]).parse().unwrap();
                            let shared = Shared {
                                state: state(s),
                                not_after: OffsetDateTime::UNIX_EPOCH,
                                serial: format!("{n:02x}").parse().unwrap(),
                                pem: format!("certificate {n}"),
                            };
                            (fingerprint, shared)
                        })
                        .collect(),
                }
            },
        )
    }

    proptest! {
        #[test]
        fn order_and_repetition_do_not_matter(a in revision(), b in revision(), c in revision()) {
            prop_assert_eq!(a.clone().merge(&b), b.clone().merge(&a));
            prop_assert_eq!(a.clone().merge(&b).merge(&c), a.clone().merge(&b.clone().merge(&c)));
            prop_assert_eq!(a.clone().merge(&a), a.clone());
            let ab = a.clone().merge(&b);
            prop_assert_eq!(ab.clone().merge(&a), ab);
        }

        #[test]
        fn what_was_revoked_or_removed_stays_so(a in revision(), b in revision()) {
            let both = a.clone().merge(&b);
            prop_assert_eq!(both.removed, a.removed || b.removed);
            for (fingerprint, shared) in &a.certificates {
                prop_assert!(both.certificates[fingerprint].state >= shared.state);
            }
        }
    }
}
