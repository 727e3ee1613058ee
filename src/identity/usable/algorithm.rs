//! Key and signature algorithms, and which of them iPXE can use.

use std::fmt;

use x509_parser::public_key::PublicKey;
use x509_parser::x509::AlgorithmIdentifier;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::Unusable;

const RSA: &str = "1.2.840.113549.1.1.1";
const EC: &str = "1.2.840.10045.2.1";
const P256: &str = "1.2.840.10045.3.1.7";

/// Signature algorithms by object identifier (RFC 8017, RFC 5758, RFC 8410). `None` marks those
/// that iPXE cannot use.
const SIGNATURES: &[(&str, &str, Option<Kind>)] = &[
    ("1.2.840.113549.1.1.11", "RSA with SHA-256", Some(Kind::Rsa)),
    ("1.2.840.113549.1.1.12", "RSA with SHA-384", Some(Kind::Rsa)),
    ("1.2.840.113549.1.1.13", "RSA with SHA-512", Some(Kind::Rsa)),
    ("1.2.840.10045.4.3.2", "ECDSA with SHA-256", Some(Kind::Ecdsa)),
    ("1.2.840.10045.4.3.3", "ECDSA with SHA-384", Some(Kind::Ecdsa)),
    ("1.2.840.10045.4.3.4", "ECDSA with SHA-512", Some(Kind::Ecdsa)),
    ("1.2.840.113549.1.1.10", "RSASSA-PSS", None),
    ("1.2.840.113549.1.1.4", "RSA with MD5", None),
    ("1.2.840.113549.1.1.5", "RSA with SHA-1", None),
    ("1.2.840.113549.1.1.14", "RSA with SHA-224", None),
    ("1.2.840.10045.4.1", "ECDSA with SHA-1", None),
    ("1.2.840.10045.4.3.1", "ECDSA with SHA-224", None),
    ("1.3.101.112", "Ed25519", None),
    ("1.3.101.113", "Ed448", None),
];

/// Key algorithms that iPXE cannot use, by object identifier.
const KEYS: &[(&str, &str)] = &[
    ("1.2.840.113549.1.1.10", "RSASSA-PSS"),
    ("1.2.840.10040.4.1", "DSA"),
    ("1.3.101.112", "Ed25519"),
    ("1.3.101.113", "Ed448"),
    ("1.3.132.0.34", "ECDSA P-384 (secp384r1)"),
    ("1.3.132.0.35", "ECDSA P-521 (secp521r1)"),
    ("1.3.132.0.10", "ECDSA secp256k1"),
];

/// The kinds of keys that iPXE can sign and verify with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every iPXE knows RSA.
    Rsa,
    /// ECDSA on P-256 needs iPXE 2.0 or later.
    Ecdsa,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa => "RSA",
            Self::Ecdsa => "ECDSA P-256",
        })
    }
}

pub(super) fn signature_kind(algorithm: &AlgorithmIdentifier<'_>) -> Result<Kind, Unusable> {
    let oid = algorithm.algorithm.to_id_string();
    let known = SIGNATURES.iter().find(|(known, ..)| *known == oid);
    match known {
        Some((.., Some(kind))) => Ok(*kind),
        Some((_, name, None)) => Err(Unusable::Signature { algorithm: (*name).to_owned() }),
        None => Err(Unusable::Signature { algorithm: oid }),
    }
}

pub(super) fn key_kind(key: &SubjectPublicKeyInfo<'_>) -> Result<Kind, Unusable> {
    let algorithm = key.algorithm.algorithm.to_id_string();
    let curve = || Some(key.algorithm.parameters.as_ref()?.as_oid().ok()?.to_id_string());
    let unusable = |key: String| Err(Unusable::Key { key });
    let named = |oid: String| {
        let name = KEYS.iter().find(|(known, _)| *known == oid).map(|(_, name)| *name);
        unusable(name.map_or(oid, str::to_owned))
    };
    match &*algorithm {
        RSA => match key.parsed() {
            Ok(PublicKey::RSA(rsa)) if (2048..=4096).contains(&rsa.key_size()) => Ok(Kind::Rsa),
            Ok(PublicKey::RSA(rsa)) => unusable(format!("RSA with {} bits", rsa.key_size())),
            _ => unusable("RSA that cannot be read".to_owned()),
        },
        EC => match curve() {
            Some(curve) if curve == P256 => Ok(Kind::Ecdsa),
            Some(curve) => named(curve),
            None => unusable("ECDSA on a curve without a name".to_owned()),
        },
        _ => named(algorithm),
    }
}
