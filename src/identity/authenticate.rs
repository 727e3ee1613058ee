use rustls::pki_types::CertificateDer;
use rustls::pki_types::TrustAnchor;
use rustls::pki_types::UnixTime;
use webpki::EndEntityCert;
use webpki::KeyUsage;
use webpki::anchor_from_trusted_cert;

use super::Certificate;

/// Decides whether a certificate is a client certificate of this fleet's CA.
///
/// Whether the gateway that owns it is still welcome is for its record to say.
#[derive(Clone, Debug)]
pub struct ClientVerifier {
    anchor: TrustAnchor<'static>,
}

impl ClientVerifier {
    /// Trusts the CA whose certificate is given as DER, and no other.
    pub fn new(ca: &[u8]) -> Result<Self, VerifyError> {
        let der = CertificateDer::from(ca);
        let anchor = anchor_from_trusted_cert(&der).map_err(VerifyError::Ca)?.to_owned();
        Ok(Self { anchor })
    }

    /// Checks signature, validity at `now` (since the Unix epoch) and the
    /// extended key usage `clientAuth`.
    pub fn verify(&self, der: &[u8], now: UnixTime) -> Result<Certificate, VerifyError> {
        let encoded = CertificateDer::from(der);
        let end_entity = EndEntityCert::try_from(&encoded).map_err(VerifyError::Refused)?;
        end_entity
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                std::slice::from_ref(&self.anchor),
                &[],
                now,
                KeyUsage::client_auth(),
                None,
                None,
            )
            .map_err(VerifyError::Refused)?;
        Certificate::from_der(der).map_err(|_| VerifyError::Malformed)
    }
}

/// The certificate is not one of this fleet's, or not any more or not yet.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The CA's own certificate cannot be a trust anchor.
    #[error("the CA certificate cannot be used as a trust anchor: {0}")]
    Ca(webpki::Error),
    /// Not signed by the CA, expired, not a client certificate ...
    #[error("{0}")]
    Refused(webpki::Error),
    /// Passed verification, yet cannot be read in full.
    #[error("malformed certificate")]
    Malformed,
}
