//! The types of key that farmgate generates.

use std::fmt;
use std::str::FromStr;

use rcgen::KeyPair;
use rcgen::RsaKeySize;
use serde::Deserialize;
use serde::Serialize;

use crate::identity::Kind;

/// The type of the CA's key and of all keys that it certifies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// RSA with 2048 bits. Every iPXE can use it.
    #[default]
    Rsa2048,
    /// ECDSA on the NIST curve P-256. Media need iPXE 2.0 or later.
    P256,
}

impl KeyType {
    /// The kind of key, as the checks for iPXE name it.
    pub fn kind(self) -> Kind {
        match self {
            Self::Rsa2048 => Kind::Rsa,
            Self::P256 => Kind::Ecdsa,
        }
    }

    pub(super) fn generate(self) -> Result<KeyPair, rcgen::Error> {
        match self {
            Self::Rsa2048 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
            Self::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        }
    }
}

impl FromStr for KeyType {
    type Err = ParseKeyTypeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "rsa2048" => Ok(Self::Rsa2048),
            "p256" => Ok(Self::P256),
            _ => Err(ParseKeyTypeError),
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa2048 => "rsa2048",
            Self::P256 => "p256",
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("expected rsa2048 or p256")]
pub struct ParseKeyTypeError;
