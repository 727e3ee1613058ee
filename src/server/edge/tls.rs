//! The TLS configuration of the listener with own TLS. Reads certificates and the key.

use std::sync::Arc;

use anyhow::Context;
use anyhow::Result;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;

use super::tls_verifier::GatewayVerifier;
use crate::server::pki;
use crate::store::State;

/// Mutual TLS 1.2 and 1.3 with the certificates of `state`. A client without a certificate is
/// accepted, since some routes need none. A client with an expired certificate or one of another CA
/// is refused. iPXE speaks TLS 1.2.
pub(in crate::server) fn server_config(state: &State) -> Result<Arc<ServerConfig>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(GatewayVerifier::new(state.ca_certificate()?, &provider)?);
    let chain = pki::server_chain(state)?;
    let (key_path, key) = pki::server_key(state)?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .with_context(|| {
            let chain_path = pki::certificate_file(state);
            format!("{} and {} do not belong together", chain_path.display(), key_path.display())
        })?;
    Ok(Arc::new(config))
}
