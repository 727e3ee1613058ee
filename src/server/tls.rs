use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use anyhow::Result;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;

use super::systemd;
use crate::store::State;

/// Mutual TLS 1.2 and 1.3 with the certificates of `state`. A client without a
/// certificate gets in, since some routes need none; one with a certificate of
/// another CA, or with an expired one, does not. iPXE speaks TLS 1.2.
pub(super) fn server_config(state: &State) -> Result<Arc<ServerConfig>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(state.ca_certificate()?))
        .context("the CA certificate cannot be used as a trust anchor")?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
        .allow_unauthenticated()
        .build()?;

    let (chain_path, key_path) = (certificate_file(state), pki_file(state, "server.key"));
    let chain = CertificateDer::pem_file_iter(&chain_path)
        .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
        .with_context(|| format!("cannot read {}", chain_path.display()))?;
    let key = PrivateKeyDer::from_pem_file(&key_path)
        .with_context(|| format!("cannot read {}", key_path.display()))?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .with_context(|| {
            format!("{} and {} do not fit together", chain_path.display(), key_path.display())
        })?;
    Ok(Arc::new(config))
}

/// The boot host's own certificate, DER.
pub(super) fn server_certificate(state: &State) -> Result<CertificateDer<'static>> {
    let path = certificate_file(state);
    CertificateDer::from_pem_file(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// The file with the boot host's certificate.
pub fn certificate_file(state: &State) -> PathBuf {
    pki_file(state, "server.crt")
}

/// A file of the PKI: systemd's credential of that name comes before the state's own.
fn pki_file(state: &State, name: &str) -> PathBuf {
    let credential = systemd::credentials().map(|dir| dir.join(name));
    credential.filter(|path| path.exists()).unwrap_or_else(|| state.pki_file(name))
}
