use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha1::Digest;
use sha1::Sha1;
use time::OffsetDateTime;
use x509_parser::parse_x509_certificate;

use super::Fingerprint;
use super::Serial;
use crate::foreign::Foreign;

/// What farmgate needs to know of one X.509 certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The encoding that everything else was read from.
    pub der: Vec<u8>,
    /// SHA-256 of `der`.
    pub fingerprint: Fingerprint,
    /// Subject, as RFC 4514 text (`CN=lab-1`).
    pub subject: Foreign,
    /// Issuer, as RFC 4514 text.
    pub issuer: Foreign,
    /// Serial number.
    pub serial: Serial,
    /// First moment at which it is valid.
    pub not_before: OffsetDateTime,
    /// Last moment at which it is valid.
    pub not_after: OffsetDateTime,
    /// `subjectPublicKey` of RFC 5280, section 4.1: the key's own bytes.
    pub public_key: Vec<u8>,
}

impl Certificate {
    /// Reads one certificate; bytes after it are an error.
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

    /// SHA-1 of `der`, as 40 lower-case hex digits: what older software calls the fingerprint.
    /// Good for finding what such software has left behind, and for nothing else.
    pub fn sha1(&self) -> String {
        hex::encode(Sha1::digest(&self.der))
    }

    /// Reads PEM text that holds exactly one certificate.
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

/// The bytes are not the one certificate that was expected.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseCertificateError {
    /// No `BEGIN CERTIFICATE` block that decodes.
    #[error("no PEM block of type CERTIFICATE in it")]
    NoPem,
    /// More than one certificate where one was expected.
    #[error("holds several certificates; exactly one is expected")]
    Several,
    /// DER that is not an X.509 certificate.
    #[error("not an X.509 certificate")]
    NotX509,
    /// A certificate, and then something else.
    #[error("{count} bytes follow after the certificate")]
    TrailingBytes {
        /// How many bytes follow.
        count: usize,
    },
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

    /// `iso verify` used to hand the terminal whatever stood in a stranger's certificate.
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
