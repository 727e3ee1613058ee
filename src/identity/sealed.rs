//! The certificate and private key that are sealed into an image.

use std::fmt;

use rcgen::KeyPair;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use super::Certificate;
use super::ParseCertificateError;

/// A certificate and its private key. The constructors check that they belong together.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The client certificate, DER.
    pub certificate: Vec<u8>,
    /// The private key, DER: PKCS #8, PKCS #1 or SEC 1.
    pub private_key: Vec<u8>,
}

impl Identity {
    /// Parses PEM and checks that certificate and key belong together.
    pub fn from_pem(certificate: &[u8], private_key: &[u8]) -> Result<Self, IdentityError> {
        let key = PrivateKeyDer::from_pem_slice(private_key).map_err(|_| IdentityError::NoKey)?;
        Self::new(Certificate::from_pem(certificate)?, key)
    }

    /// Parses DER and checks that certificate and key belong together.
    pub fn from_der(certificate: &[u8], private_key: &[u8]) -> Result<Self, IdentityError> {
        let key = PrivateKeyDer::try_from(private_key).map_err(|_| IdentityError::NoKey)?;
        Self::new(Certificate::from_der(certificate)?, key)
    }

    fn new(certificate: Certificate, key: PrivateKeyDer<'_>) -> Result<Self, IdentityError> {
        let pair = KeyPair::try_from(&key).map_err(|_| IdentityError::UnusableKey)?;
        if pair.public_key_raw() != certificate.public_key {
            return Err(IdentityError::Mismatch);
        }
        Ok(Self { certificate: certificate.der, private_key: key.secret_der().to_vec() })
    }
}

impl fmt::Debug for Identity {
    /// Hides the private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Why certificate and key cannot be used together.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("the certificate cannot be read")]
    Certificate(#[from] ParseCertificateError),
    #[error("no readable private key found (PKCS #8, PKCS #1 or SEC 1, unencrypted)")]
    NoKey,
    #[error("the private key cannot be used: RSA or ECDSA P-256 is expected")]
    UnusableKey,
    #[error("the private key does not belong to the certificate")]
    Mismatch,
}
