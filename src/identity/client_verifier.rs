//! Verifies client certificates against the fleet's CA. Pure: the caller passes the time.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::TrustAnchor;
use rustls::pki_types::UnixTime;
use webpki::EndEntityCert;
use webpki::KeyUsage;
use webpki::anchor_from_trusted_cert;
use x509_parser::certificate::X509Certificate;
use x509_parser::parse_x509_certificate;
use x509_parser::x509::X509Version;

use super::Certificate;
use super::usable_client;

/// Decides whether a certificate is a client certificate of this fleet's CA.
///
/// It does not know whether the gateway was removed or the certificate revoked. The gateway's
/// record says that.
#[derive(Clone, Debug)]
pub struct ClientVerifier {
    ca: Vec<u8>,
    anchor: TrustAnchor<'static>,
}

impl ClientVerifier {
    /// Trusts the CA with this certificate (DER) and no other.
    pub fn new(ca: &[u8]) -> Result<Self, VerifyError> {
        let der = CertificateDer::from(ca);
        let anchor = anchor_from_trusted_cert(&der).map_err(VerifyError::Ca)?.to_owned();
        Ok(Self { ca: ca.to_vec(), anchor })
    }

    /// Checks the signature, the validity at `now`, and the extended key usage `clientAuth`.
    pub fn verify(&self, der: &[u8], now: UnixTime) -> Result<Certificate, VerifyError> {
        if let Some(certificate) = v1(der) {
            self.verify_v1(&certificate, now).map_err(VerifyError::Refused)?;
        } else {
            self.verify_v3(der, now).map_err(VerifyError::Refused)?;
        }
        Certificate::from_der(der).map_err(|_| VerifyError::Malformed)
    }

    fn verify_v3(&self, der: &[u8], now: UnixTime) -> Result<(), webpki::Error> {
        let encoded = CertificateDer::from(der);
        EndEntityCert::try_from(&encoded)?
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                std::slice::from_ref(&self.anchor),
                &[],
                now,
                KeyUsage::client_auth(),
                None,
                None,
            )
            .map(drop)
    }

    /// Does the same for X.509 version 1, which webpki does not read. `openssl ca` without
    /// extensions, and therefore valve-infra, issues only version 1. A certificate without an
    /// extended key usage is good for every use (RFC 5280, section 4.2.1.12).
    fn verify_v1(
        &self,
        certificate: &X509Certificate<'_>,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let (_, ca) = parse_x509_certificate(&self.ca).map_err(|_| webpki::Error::UnknownIssuer)?;
        if certificate.issuer().as_raw() != ca.subject().as_raw() {
            return Err(webpki::Error::UnknownIssuer);
        }
        is_canonical_v1(certificate.as_raw()).ok_or(webpki::Error::BadDer)?;
        // This refuses weak algorithms such as SHA-1.
        usable_client(certificate.as_raw()).map_err(|_| webpki::Error::UnknownIssuer)?;
        certificate
            .verify_signature(Some(ca.public_key()))
            .map_err(|_| webpki::Error::InvalidSignatureForPublicKey)?;
        let validity = certificate.validity();
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let (first, last) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        let time = |seconds: i64| {
            let seconds = seconds.try_into().unwrap_or(0);
            UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
        };
        if seconds < first {
            return Err(webpki::Error::CertNotValidYet { time: now, not_before: time(first) });
        }
        if seconds > last {
            return Err(webpki::Error::CertExpired { time: now, not_after: time(last) });
        }
        Ok(())
    }
}

/// Checks that a version 1 certificate (RFC 5280, section 4.1) has no byte outside its signed part
/// that could differ. Otherwise one certificate could have two encodings, and so two fingerprints.
fn is_canonical_v1(der: &[u8]) -> Option<()> {
    let (_, all, after) = element(der, SEQUENCE)?;
    let (_, signed, rest) = element(all, SEQUENCE)?;
    let (algorithm, _, rest) = element(rest, SEQUENCE)?;
    let (_, signature, rest) = element(rest, BIT_STRING)?;
    let (_, _, of_signed) = element(signed, INTEGER)?;
    let (named_within, ..) = element(of_signed, SEQUENCE)?;
    // The first byte counts the unused bits of the last byte, and there must be none.
    let whole = signature.first() == Some(&0);
    (after.is_empty() && rest.is_empty() && whole && algorithm == named_within).then_some(())
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// Splits off the DER element with this tag. Returns the whole element, its content, and the bytes
/// after it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8], &[u8])> {
    let (&[found, first], rest) = bytes.split_first_chunk()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => {
            let (len, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*len)), rest)
        }
        _ => return None,
    };
    // DER requires the shortest form of a length.
    let shortest = match first {
        0x81 => len > 0x7f,
        0x82 => len > 0xff,
        _ => true,
    };
    let (content, after) = rest.split_at_checked(len)?;
    let element = &bytes[..bytes.len() - after.len()];
    (found == tag && shortest).then_some((element, content, after))
}

/// The public key of an X.509 version 1 certificate (DER). webpki reads the key of all other
/// versions.
pub fn v1_public_key(der: &[u8]) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let key = v1(der)?.public_key().raw.to_vec();
    Some(SubjectPublicKeyInfoDer::from(key))
}

fn v1(der: &[u8]) -> Option<X509Certificate<'_>> {
    match parse_x509_certificate(der) {
        Ok(([], certificate))
            if certificate.version() == X509Version::V1 && certificate.extensions().is_empty() =>
        {
            Some(certificate)
        }
        _ => None,
    }
}

/// Why a client certificate was refused.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("the CA certificate cannot be used as a trust anchor: {0}")]
    Ca(webpki::Error),
    /// Not signed by the CA, expired, not a client certificate, and so on.
    #[error("{0}")]
    Refused(webpki::Error),
    /// The certificate passed verification but cannot be parsed in full.
    #[error("malformed certificate")]
    Malformed,
}
