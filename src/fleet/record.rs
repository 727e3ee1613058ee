//! The record of a gateway. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

use super::GatewayId;
use super::GroupName;
use super::LabelName;
use super::Policy;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;
use crate::identity::Serial;

/// Version of the records that this program writes.
pub const FORMAT: u32 = 1;

/// Most names that are remembered of one gateway.
const MOST_FORMER_NAMES: usize = 16;

/// State of a certificate. It only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CertificateState {
    /// New images get this one.
    Active,
    /// Still valid, but replaced by a newer one.
    Retiring,
    /// No longer valid.
    Revoked,
}

impl CertificateState {
    /// The name in records and for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Revoked => "revoked",
        }
    }
}

impl fmt::Display for CertificateState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Assessment of a gateway's generations: on or off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Assessment {
    /// As the configuration says.
    #[default]
    Default,
    /// Not assessed: its system never acknowledges.
    None,
}

impl FromStr for Assessment {
    type Err = ParseAssessmentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "default" => Ok(Self::Default),
            "none" => Ok(Self::None),
            _ => Err(ParseAssessmentError),
        }
    }
}

/// The text is not a kind of assessment.
#[derive(Debug, thiserror::Error)]
#[error("expected default or none")]
pub struct ParseAssessmentError;

/// A certificate of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OwnedCertificate {
    /// SHA-256 of its DER.
    pub fingerprint: Fingerprint,
    /// Serial number.
    pub serial: Serial,
    /// State of the certificate.
    pub state: CertificateState,
    /// End of validity.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
}

/// One gateway, with all certificates that it has had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    format: u32,
    pub name: GatewayName,
    /// Names its directory in the store. An id is never used again; the name of a removed gateway
    /// can be.
    pub id: GatewayId,
    /// The time when it was added.
    #[serde(with = "time::serde::rfc3339")]
    pub added: OffsetDateTime,
    /// Assessment of its generations: on or off.
    #[serde(default)]
    pub assessment: Assessment,
    /// The group that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupName>,
    /// Names that it had before, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former_names: Vec<GatewayName>,
    /// Free labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<LabelName, String>,
    /// Its certificates, oldest first.
    pub certificates: Vec<OwnedCertificate>,
}

impl Record {
    /// The record of a new gateway with its first certificate.
    pub fn new(name: GatewayName, first: OwnedCertificate, now: OffsetDateTime) -> Self {
        Self {
            format: FORMAT,
            id: GatewayId::new(&name),
            name,
            added: now,
            assessment: Assessment::default(),
            group: None,
            former_names: Vec::new(),
            labels: BTreeMap::new(),
            certificates: vec![first],
        }
    }

    /// Gives the gateway another name, and remembers the one that it had. The id stays.
    pub fn rename(&mut self, name: GatewayName) {
        let old = std::mem::replace(&mut self.name, name);
        self.former_names.retain(|former| *former != old && *former != self.name);
        self.former_names.push(old);
        let surplus = self.former_names.len().saturating_sub(MOST_FORMER_NAMES);
        self.former_names.drain(..surplus);
    }

    /// The assessment policy of the gateway; `tries` is the fleet's number of tries.
    pub fn policy(&self, tries: NonZeroU32) -> Policy {
        match self.assessment {
            Assessment::Default => Policy::Tries(tries),
            Assessment::None => Policy::None,
        }
    }

    /// All its certificates are revoked: it cannot boot.
    pub fn is_revoked(&self) -> bool {
        self.certificates.iter().all(|owned| owned.state == CertificateState::Revoked)
    }

    /// The certificate that new images get.
    pub fn active(&self) -> Option<&OwnedCertificate> {
        self.certificates.iter().rfind(|owned| owned.state == CertificateState::Active)
    }

    /// Checks whether a boot may be acknowledged, and returns the obstacle if not. The boot was
    /// begun with the certificate `begun_with`; its token was given to one whose fingerprint begins
    /// with `given_to`.
    ///
    /// Older versions record neither. Then any certificate of the gateway may have been used, and a
    /// revoked one bars the boot.
    pub fn bars_acknowledgement(
        &self,
        begun_with: Option<&Fingerprint>,
        given_to: Option<&str>,
    ) -> Option<Barred> {
        let revoked = |owned: &&OwnedCertificate| owned.state == CertificateState::Revoked;
        let barred = |owned: &OwnedCertificate| Barred::Revoked(owned.fingerprint);
        if begun_with.is_none() && given_to.is_none() {
            return self.certificates.iter().find(revoked).map(barred);
        }
        let begun_with = begun_with.map(ToString::to_string);
        [begun_with.as_deref(), given_to].into_iter().flatten().find_map(|digits| {
            let is_meant =
                |owned: &&OwnedCertificate| owned.fingerprint.to_string().starts_with(digits);
            match self.certificates.iter().find(is_meant) {
                None => Some(Barred::Unknown),
                Some(owned) => Some(owned).filter(revoked).map(barred),
            }
        })
    }

    /// The certificate with this fingerprint.
    pub fn certificate(&self, fingerprint: &Fingerprint) -> Option<&OwnedCertificate> {
        self.certificates.iter().find(|owned| owned.fingerprint == *fingerprint)
    }
}

/// Why a boot cannot be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barred {
    /// One of its certificates is revoked.
    Revoked(Fingerprint),
    /// It was begun with a certificate that is not known here, or not yet.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTIVE: Fingerprint = Fingerprint::from_bytes([0xaa; 32]);
    const RETIRING: Fingerprint = Fingerprint::from_bytes([0xbb; 32]);
    const REVOKED: Fingerprint = Fingerprint::from_bytes([0xcc; 32]);

    fn record(certificates: &[(Fingerprint, CertificateState)]) -> Record {
        let owned = |(fingerprint, state): &(Fingerprint, CertificateState)| OwnedCertificate {
            fingerprint: *fingerprint,
            serial: "01".parse().unwrap(),
            state: *state,
            not_after: OffsetDateTime::UNIX_EPOCH,
        };
        Record {
            format: FORMAT,
            name: "lab-1".parse().unwrap(),
            id: "lab-1-0a".parse().unwrap(),
            added: OffsetDateTime::UNIX_EPOCH,
            assessment: Assessment::Default,
            group: None,
            former_names: Vec::new(),
            labels: BTreeMap::new(),
            certificates: certificates.iter().map(owned).collect(),
        }
    }

    #[test]
    fn a_revoked_certificate_bars_what_it_had_to_do_with() {
        let [active, retiring] =
            [(ACTIVE, CertificateState::Active), (RETIRING, CertificateState::Retiring)];
        let all = record(&[(REVOKED, CertificateState::Revoked), retiring, active]);
        let good = record(&[retiring, active]);
        let digits = |digit: &str| digit.repeat(16);
        let revoked = Some(Barred::Revoked(REVOKED));
        let unknown = Some(Barred::Unknown);
        let other = Fingerprint::from_bytes([0xdd; 32]);
        for (begun_with, given_to, expected, among_good) in [
            (Some(ACTIVE), Some("a"), None, None),
            (Some(RETIRING), Some("a"), None, None),
            (None, Some("b"), None, None),
            (Some(ACTIVE), None, None, None),
            // The certificate of the boot, or of its token, was revoked since.
            (Some(REVOKED), Some("c"), revoked, unknown),
            (Some(REVOKED), Some("a"), revoked, unknown),
            (Some(ACTIVE), Some("c"), revoked, unknown),
            (None, Some("c"), revoked, unknown),
            (Some(other), Some("a"), unknown, unknown),
            (Some(ACTIVE), Some("d"), unknown, unknown),
            // Recorded before certificates were recorded.
            (None, None, revoked, None),
        ] {
            let given_to = given_to.map(digits);
            for (record, expected) in [(&all, expected), (&good, among_good)] {
                let barred = record.bars_acknowledgement(begun_with.as_ref(), given_to.as_deref());
                assert_eq!(barred, expected, "{begun_with:?} {given_to:?}");
            }
        }
    }
}
