//! Verifies client certificates in the handshake of own TLS.

use std::sync::Arc;

use anyhow::Context;
use anyhow::Result;
use rustls::DigitallySignedStruct;
use rustls::DistinguishedName;
use rustls::Error;
use rustls::PeerMisbehaved;
use rustls::RootCertStore;
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::crypto::verify_tls13_signature_with_raw_key;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::UnixTime;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerified;
use rustls::server::danger::ClientCertVerifier;
use webpki::RawPublicKeyEntity;

use crate::identity::ClientVerifier;
use crate::identity::VerifyError;
use crate::identity::v1_public_key;

/// rustls' own verifier, plus X.509 version 1 certificates, which rustls does not read.
#[derive(Debug)]
pub(super) struct GatewayVerifier {
    webpki: Arc<dyn ClientCertVerifier>,
    fleet: ClientVerifier,
    algorithms: WebPkiSupportedAlgorithms,
}

impl GatewayVerifier {
    /// Trusts the CA (DER). A client may come without a certificate.
    pub(super) fn new(ca: Vec<u8>, provider: &Arc<CryptoProvider>) -> Result<Self> {
        let fleet = ClientVerifier::new(&ca)?;
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from(ca))
            .context("the CA certificate cannot be used as a trust anchor")?;
        let webpki = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
            .allow_unauthenticated()
            .build()?;
        Ok(Self { webpki, fleet, algorithms: provider.signature_verification_algorithms })
    }
}

impl ClientCertVerifier for GatewayVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.webpki.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if v1_public_key(end_entity).is_none() {
            return self.webpki.verify_client_cert(end_entity, intermediates, now);
        }
        match self.fleet.verify(end_entity, now) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(VerifyError::Refused(error)) => Err(refused(&error)),
            Err(error) => Err(Error::General(error.to_string())),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match v1_public_key(certificate) {
            None => self.webpki.verify_tls12_signature(message, certificate, signed),
            Some(key) => verify_tls12(message, &key, signed, &self.algorithms),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match v1_public_key(certificate) {
            None => self.webpki.verify_tls13_signature(message, certificate, signed),
            Some(key) => {
                verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
            }
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// Does what rustls does for certificates it can read: TLS 1.2 binds ECDSA to no curve, so every
/// algorithm of the scheme is tried.
fn verify_tls12(
    message: &[u8],
    key: &SubjectPublicKeyInfoDer<'_>,
    signed: &DigitallySignedStruct,
    known: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let scheme = known.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
    let (_, algorithms) = scheme.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    let key = RawPublicKeyEntity::try_from(key).map_err(|error| refused(&error))?;
    let verified = |algorithm| key.verify_signature(algorithm, message, signed.signature());
    if algorithms.iter().any(|algorithm| verified(*algorithm).is_ok()) {
        Ok(HandshakeSignatureValid::assertion())
    } else {
        Err(rustls::CertificateError::BadSignature.into())
    }
}

fn refused(error: &webpki::Error) -> Error {
    use rustls::CertificateError as Certificate;
    use webpki::Error as Webpki;
    match error {
        Webpki::CertExpired { .. } => Certificate::Expired.into(),
        Webpki::CertNotValidYet { .. } => Certificate::NotValidYet.into(),
        Webpki::UnknownIssuer => Certificate::UnknownIssuer.into(),
        Webpki::InvalidSignatureForPublicKey => Certificate::BadSignature.into(),
        other => Error::General(other.to_string()),
    }
}
