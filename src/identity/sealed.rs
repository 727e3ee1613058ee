use std::fmt;

use rcgen::KeyPair;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use super::Certificate;
use super::ParseCertificateError;

/// What is sealed into a gateway's image: a certificate and its private key,
/// known to belong together.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The client certificate, DER.
    pub certificate: Vec<u8>,
    /// Its private key, DER: PKCS #8, PKCS #1 or SEC 1.
    pub private_key: Vec<u8>,
}

impl Identity {
    /// Reads certificate and key from PEM and checks that they belong together.
    pub fn from_pem(certificate: &[u8], private_key: &[u8]) -> Result<Self, IdentityError> {
        let key = PrivateKeyDer::from_pem_slice(private_key).map_err(|_| IdentityError::NoKey)?;
        Self::new(Certificate::from_pem(certificate)?, key)
    }

    /// The same from DER.
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
    /// Never shows the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Certificate and key cannot be used together.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The certificate cannot be read.
    #[error("the certificate cannot be read")]
    Certificate(#[from] ParseCertificateError),
    /// The key cannot be read.
    #[error("no private key in it that can be read (PKCS #8, PKCS #1 or SEC 1, unencrypted)")]
    NoKey,
    /// A key of a kind that is not supported.
    #[error("the private key is of a kind that cannot be used: RSA or ECDSA P-256 is expected")]
    UnusableKey,
    /// A key of another certificate.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
}
