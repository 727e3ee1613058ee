//! What is recorded of a gateway. Pure.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

use crate::boot::Policy;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;
use crate::identity::Serial;

/// Version of the records that this program writes.
pub(super) const FORMAT: u32 = 1;

/// Where a certificate stands in its life. It only goes on, never back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CertificateState {
    /// The one that new images get.
    Active,
    /// Still lets its gateway in; a newer one has taken its place.
    Retiring,
    /// Lets nobody in.
    Revoked,
}

impl fmt::Display for CertificateState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Revoked => "revoked",
        })
    }
}

/// Whether a gateway's generations are assessed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Assessment {
    /// As the configuration says.
    #[default]
    Default,
    /// No: its system never acknowledges.
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

/// The text names no kind of assessment.
#[derive(Debug, thiserror::Error)]
#[error("expected default or none")]
pub struct ParseAssessmentError;

/// A certificate that a gateway owns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OwnedCertificate {
    /// SHA-256 of its DER.
    pub fingerprint: Fingerprint,
    /// Serial number.
    pub serial: Serial,
    /// Whether it lets its gateway in.
    pub state: CertificateState,
    /// Until when it is valid.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
}

/// One gateway, whatever certificates it has had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    pub(super) format: u32,
    /// Its name.
    pub name: GatewayName,
    /// Names what the store keeps for it. Never used again, unlike the name of a
    /// gateway that was removed.
    pub id: String,
    /// When it was added.
    #[serde(with = "time::serde::rfc3339")]
    pub added: OffsetDateTime,
    /// Whether its generations are assessed.
    #[serde(default)]
    pub assessment: Assessment,
    /// Its certificates, oldest first.
    pub certificates: Vec<OwnedCertificate>,
}

impl Record {
    /// How its generations are assessed, where `tries` is the fleet's number of tries.
    pub fn policy(&self, tries: NonZeroU32) -> Policy {
        match self.assessment {
            Assessment::Default => Policy::Tries(tries),
            Assessment::None => Policy::None,
        }
    }

    /// The certificate that new images get.
    pub fn active(&self) -> Option<&OwnedCertificate> {
        self.certificates.iter().rfind(|owned| owned.state == CertificateState::Active)
    }

    /// The certificate with this fingerprint.
    pub fn certificate(&self, fingerprint: &Fingerprint) -> Option<&OwnedCertificate> {
        self.certificates.iter().find(|owned| owned.fingerprint == *fingerprint)
    }
}

/// The name of the gateway that has, or had, this id.
pub fn name_of(id: &str) -> &str {
    id.rsplit_once('-').map_or(id, |(name, _)| name)
}
