//! Certificates that are or were valid at some time. A gateway whose clock is wrong asks its boot
//! host for the time, and cannot tell yet whether that host's certificate is valid. The chain, the
//! name and the signature are checked as ever.

use std::sync::Arc;

use rustls::CertificateError;
use rustls::DigitallySignedStruct;
use rustls::Error;
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;

/// Longest chain of certificates whose times are looked for.
const TRIES: usize = 6;

/// Verifies as another verifier does, at a time of the certificates' own choice.
#[derive(Debug)]
pub(super) struct AnyTime(Arc<dyn ServerCertVerifier>);

impl AnyTime {
    pub(super) fn new(verifier: Arc<dyn ServerCertVerifier>) -> Self {
        Self(verifier)
    }
}

impl ServerCertVerifier for AnyTime {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        mut now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut tries = 0;
        loop {
            let verified = self.0.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            );
            let invalid = match &verified {
                Err(Error::InvalidCertificate(invalid)) => invalid,
                _ => return verified,
            };
            now = match invalid {
                CertificateError::ExpiredContext { not_after, .. } => *not_after,
                CertificateError::NotValidYetContext { not_before, .. } => *not_before,
                _ => return verified,
            };
            tries += 1;
            if tries == TRIES {
                return verified;
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
