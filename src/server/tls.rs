use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use super::gateway_tls::GatewayVerifier;
use super::systemd;
use crate::store::State;

/// Mutual TLS 1.2 and 1.3 with the certificates of `state`. A client without a
/// certificate gets in, since some routes need none; one with a certificate of
/// another CA, or with an expired one, does not. iPXE speaks TLS 1.2.
pub(super) fn server_config(state: &State) -> Result<Arc<ServerConfig>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(GatewayVerifier::new(state.ca_certificate()?, &provider)?);
    let (chain_path, key_path) = (certificate_file(state), pki_file(state, "server.key"));
    let chain = server_chain(state)?;
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

/// What gateways are shown, DER: the boot host's own certificate and those above it. Never empty.
pub fn server_chain(state: &State) -> Result<Vec<CertificateDer<'static>>> {
    let path = certificate_file(state);
    let cannot = || format!("cannot read {}", path.display());
    let chain: Vec<_> = CertificateDer::pem_file_iter(&path)
        .and_then(Iterator::collect::<Result<_, _>>)
        .with_context(cannot)?;
    ensure!(!chain.is_empty(), "{}: no certificate in it", cannot());
    Ok(chain)
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
