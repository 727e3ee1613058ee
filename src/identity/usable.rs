//! Checks that iPXE can use a certificate: the CA, the boot host's chain, a gateway's certificate.
//!
//! A medium whose certificate iPXE cannot use is dead once it was mailed, and nobody notices. So
//! these checks accept only what was seen to boot with iPXE 1.21.1 and 2.0.0, or differs from that
//! in nothing that iPXE looks at (`x509.c`, `tls.c` and `config/crypto.h` in its source):
//!
//! - keys: RSA with 2048 to 4096 bits, or ECDSA on P-256, which needs iPXE 2.0;
//! - signatures: RSA (PKCS #1 v1.5) or ECDSA, with SHA-256, SHA-384 or SHA-512;
//! - critical extensions: only those that iPXE knows;
//! - a CA of version 3 with `CA:true` and, where it has a `keyUsage`, `keyCertSign`;
//! - a gateway's certificate of version 1 or 3, with or without extensions, whose key is of the
//!   same kind as its issuer's: iPXE signs its handshake with the algorithm of the issuer's
//!   signature;
//! - a server chain in order, including the CA itself, which iPXE knows only by its fingerprint.
//!
//! Dates and names are checked elsewhere, except for the effect of a clock without a battery.

mod algorithm;
#[cfg(test)]
mod tests;

use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::Oid;
use x509_parser::parse_x509_certificate;
use x509_parser::x509::SubjectPublicKeyInfo;
use x509_parser::x509::X509Version;

pub use algorithm::Kind;
use algorithm::key_kind;
use algorithm::signature_kind;

/// Extensions that iPXE can handle when they are critical (`x509.c`, `x509_extensions`).
const KNOWN_EXTENSIONS: &[&str] =
    &["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.37", "1.3.6.1.5.5.7.1.1"];

/// `id-ad-ocsp`, an access method of authorityInfoAccess (RFC 5280, section 4.2.2.1).
const OCSP: &str = "1.3.6.1.5.5.7.48.1";

/// The range of years that a clock chip can store: two digits, which iPXE reads as years of this
/// century.
const CLOCKS_BEGIN: i32 = 2000;
const CLOCKS_END: i32 = 2100;

/// Checks that media can have this CA (DER) as their root. Returns the kind of its key.
pub fn usable_ca(der: &[u8]) -> Result<Kind, Unusable> {
    let ca = read(der)?;
    can_issue(&ca)?;
    parsable(&ca)
}

/// Checks that iPXE can use this client certificate (DER).
pub fn usable_client(der: &[u8]) -> Result<(), Unusable> {
    let certificate = read(der)?;
    let key = parsable(&certificate)?;
    let issuer = signature_kind(&certificate.signature_algorithm)?;
    same_kind(key, issuer)
}

/// Checks that iPXE can use a certificate for this key (`SubjectPublicKeyInfo`, DER) when this CA
/// (DER) signs it.
pub fn usable_client_key(spki: &[u8], ca: &[u8]) -> Result<(), Unusable> {
    use x509_parser::prelude::FromDer;
    let (_, spki) = SubjectPublicKeyInfo::from_der(spki).map_err(|_| Unusable::NotX509)?;
    same_kind(key_kind(&spki)?, usable_ca(ca)?)
}

/// Checks that a gateway with this CA (DER) as its root can verify the chain (DER each) that the
/// boot host sends: its certificate, intermediates, and the CA itself.
pub fn usable_chain<T: AsRef<[u8]>>(chain: &[T], ca: &[u8]) -> Result<(), Unusable> {
    let read: Vec<_> = chain.iter().map(|der| read(der.as_ref())).collect::<Result<_, _>>()?;
    for certificate in &read {
        parsable(certificate)?;
    }
    let root = chain.iter().position(|der| der.as_ref() == ca).ok_or(Unusable::NoRoot)?;
    if root == 0 {
        return Err(Unusable::NoServer);
    }
    for (below, pair) in read[..=root].windows(2).enumerate() {
        let (certificate, issuer) = (&pair[0], &pair[1]);
        if certificate.issuer().as_raw() != issuer.subject().as_raw() {
            return Err(Unusable::OutOfOrder { at: below + 2 });
        }
        can_issue(issuer)?;
        if path_len(issuer).is_some_and(|most| (most as usize) < below) {
            return Err(Unusable::PathLen { at: below + 2 });
        }
        if asks_ocsp(certificate) {
            return Err(Unusable::Ocsp);
        }
    }
    Ok(())
}

/// Checks that a gateway accepts this CA (DER) whatever its clock says.
pub fn survives_any_clock(ca: &[u8]) -> Result<(), ClockRisk> {
    let Ok((_, ca)) = parse_x509_certificate(ca) else { return Ok(()) };
    let validity = ca.validity();
    let (begin, end) = (validity.not_before.to_datetime(), validity.not_after.to_datetime());
    if end.year() < CLOCKS_END {
        return Err(ClockRisk::Ends(end));
    }
    if begin.year() >= CLOCKS_BEGIN { Err(ClockRisk::Begins(begin)) } else { Ok(()) }
}

fn read(der: &[u8]) -> Result<X509Certificate<'_>, Unusable> {
    match parse_x509_certificate(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(Unusable::NotX509),
    }
}

/// Checks that iPXE can parse the certificate. Returns the kind of its key.
fn parsable(certificate: &X509Certificate<'_>) -> Result<Kind, Unusable> {
    signature_kind(&certificate.signature_algorithm)?;
    for extension in certificate.extensions() {
        let oid = extension.oid.to_id_string();
        if extension.critical && !KNOWN_EXTENSIONS.contains(&&*oid) {
            return Err(Unusable::Critical { extension: extension_name(&extension.oid) });
        }
    }
    key_kind(certificate.public_key())
}

/// Checks that iPXE accepts certificates that this CA signed (`x509_check_issuer`).
fn can_issue(ca: &X509Certificate<'_>) -> Result<(), Unusable> {
    if ca.version() != X509Version::V3 {
        return Err(Unusable::Version { version: ca.version().0.saturating_add(1) });
    }
    if !ca.basic_constraints().ok().flatten().is_some_and(|basic| basic.value.ca) {
        return Err(Unusable::NotCa);
    }
    match ca.key_usage() {
        Ok(Some(usage)) if !usage.value.key_cert_sign() => Err(Unusable::NoCertSign),
        Ok(_) => Ok(()),
        Err(_) => Err(Unusable::NotX509),
    }
}

fn path_len(ca: &X509Certificate<'_>) -> Option<u32> {
    ca.basic_constraints().ok().flatten()?.value.path_len_constraint
}

fn asks_ocsp(certificate: &X509Certificate<'_>) -> bool {
    certificate.extensions().iter().any(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => access
            .accessdescs
            .iter()
            .any(|description| description.access_method.to_id_string() == OCSP),
        _ => false,
    })
}

fn same_kind(key: Kind, issuer: Kind) -> Result<(), Unusable> {
    if key == issuer { Ok(()) } else { Err(Unusable::OtherKind { key, issuer }) }
}

fn extension_name(oid: &Oid<'_>) -> String {
    match &*oid.to_id_string() {
        "2.5.29.30" => "nameConstraints".to_owned(),
        "2.5.29.32" => "certificatePolicies".to_owned(),
        "2.5.29.36" => "policyConstraints".to_owned(),
        other => other.to_owned(),
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("it is not an X.509 certificate")]
    NotX509,
    #[error("it is of X.509 version {version}: iPXE accepts only a CA of version 3")]
    Version {
        /// Counted from 1, as people do.
        version: u32,
    },
    #[error("its basicConstraints do not say CA:true, so iPXE accepts nothing that it signed")]
    NotCa,
    #[error("its keyUsage lacks keyCertSign, so iPXE accepts nothing that it signed")]
    NoCertSign,
    #[error("its extension {extension} is critical, and iPXE does not know it")]
    Critical {
        /// Name or object identifier.
        extension: String,
    },
    /// A signature algorithm that iPXE or farmgate does not know.
    #[error(
        "it is signed with {algorithm}: iPXE needs RSA (PKCS #1 v1.5) or ECDSA with SHA-256, \
         SHA-384 or SHA-512"
    )]
    Signature {
        /// Name or object identifier.
        algorithm: String,
    },
    /// A key that iPXE or farmgate does not know.
    #[error("its key is {key}: iPXE needs RSA with 2048 to 4096 bits, or ECDSA P-256")]
    Key { key: String },
    #[error(
        "its key is {key} and the CA signs with {issuer}: iPXE signs with the algorithm of the CA, \
         so both must be of the same kind"
    )]
    OtherKind {
        /// The kind of the gateway's key.
        key: Kind,
        /// The kind of the CA's key.
        issuer: Kind,
    },
    #[error(
        "the CA itself is missing in the chain: gateways know only its fingerprint, so the \
         boot host must send it, as the last certificate"
    )]
    NoRoot,
    #[error("the chain begins with the CA, but the server's own certificate must come first")]
    NoServer,
    #[error("certificate {at} of the chain is not the issuer of the one before it")]
    OutOfOrder {
        /// Counted from 1.
        at: usize,
    },
    #[error("certificate {at} of the chain allows fewer certificates below it (pathlen)")]
    PathLen {
        /// Counted from 1.
        at: usize,
    },
    #[error("it names an OCSP responder, which iPXE would ask first at each boot")]
    Ocsp,
}

/// Why a gateway with a wrong clock would refuse its boot host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClockRisk {
    /// The CA ends within the years that a clock chip can store.
    #[error(
        "the CA ends on {}: a gateway whose clock says a later year refuses this host, and iPXE \
         reads the 1980 of a clock without a battery as 2080",
        .0.date()
    )]
    Ends(OffsetDateTime),
    /// The CA begins within those years.
    #[error(
        "the CA begins on {}: a gateway whose clock says an earlier day, for instance without a \
         battery, refuses this host",
        .0.date()
    )]
    Begins(OffsetDateTime),
}
