//! Parses X.509 certificates.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha1::Digest;
use sha1::Sha1;
use time::OffsetDateTime;
use x509_parser::parse_x509_certificate;

use super::Fingerprint;
use super::Serial;
use crate::foreign::Foreign;

/// The parts of an X.509 certificate that farmgate uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub der: Vec<u8>,
    pub fingerprint: Fingerprint,
    /// Subject as RFC 4514 text (`CN=lab-1`).
    pub subject: Foreign,
    /// Issuer as RFC 4514 text.
    pub issuer: Foreign,
    pub serial: Serial,
    pub not_before: OffsetDateTime,
    pub not_after: OffsetDateTime,
    /// `subjectPublicKey` of RFC 5280, section 4.1: the bytes of the key itself.
    pub public_key: Vec<u8>,
}

impl Certificate {
    /// Parses one certificate. Bytes after it are an error.
    pub fn from_der(der: &[u8]) -> Result<Self, ParseCertificateError> {
        let (rest, certificate) =
            parse_x509_certificate(der).map_err(|_| ParseCertificateError::NotX509)?;
        if !rest.is_empty() {
            return Err(ParseCertificateError::TrailingBytes { count: rest.len() });
        }
        Ok(Self {
            der: der.to_vec(),
            fingerprint: Fingerprint::of_der(der),
            subject: certificate.subject().to_string().into(),
            issuer: certificate.issuer().to_string().into(),
            serial: Serial::from_der(certificate.raw_serial()),
            not_before: certificate.validity().not_before.to_datetime(),
            not_after: certificate.validity().not_after.to_datetime(),
            public_key: certificate.public_key().subject_public_key.data.to_vec(),
        })
    }

    /// SHA-1 of `der` as 40 lower-case hex digits. Use it only to find data of older software,
    /// which calls this the fingerprint.
    pub fn sha1(&self) -> String {
        hex::encode(Sha1::digest(&self.der))
    }

    /// Parses PEM text that holds exactly one certificate.
    pub fn from_pem(pem: &[u8]) -> Result<Self, ParseCertificateError> {
        let mut found = CertificateDer::pem_slice_iter(pem);
        let first = found.next().ok_or(ParseCertificateError::NoPem)?;
        let der = first.map_err(|_| ParseCertificateError::NoPem)?;
        if found.next().is_some() {
            return Err(ParseCertificateError::Several);
        }
        Self::from_der(&der)
    }
}

/// Why bytes could not be parsed as one certificate.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseCertificateError {
    #[error("no PEM block of type CERTIFICATE found")]
    NoPem,
    #[error("holds several certificates; exactly one is expected")]
    Several,
    #[error("not an X.509 certificate")]
    NotX509,
    #[error("{count} bytes follow after the certificate")]
    TrailingBytes { count: usize },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::CertificateParams;
    use rcgen::DnType;
    use rcgen::KeyPair;
    use rcgen::PKCS_ECDSA_P256_SHA256;

    use super::*;

    fn subject(name: &str) -> String {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        Certificate::from_der(certificate.der()).unwrap().subject.to_string()
    }

    /// `iso verify` used to print control characters from a stranger's certificate to the terminal.
    #[test]
    fn names_in_certificates_are_harmless() {
        assert!(subject("lab-1").contains("CN=lab-1"));
        let shown = subject("\x1b]0;owned\x07\u{202e}");
        assert!(!shown.contains(['\x1b', '\x07', '\u{202e}']), "{shown:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        #[test]
        fn no_control_character_comes_out_of_a_subject(name in "\\PC{0,5}[\\x01-\\x1f\u{80}-\u{9f}a]{1,9}") {
            prop_assert!(!subject(&name).contains(char::is_control));
        }
    }
}
