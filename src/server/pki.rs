//! The certificates and the key of own TLS, from the state or from systemd's credentials. Reads
//! them.

use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use crate::store::State;

/// The folder of this service's systemd credentials (`LoadCredential=`).
pub(super) fn credentials() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// The certificate chain that gateways are shown, DER: the boot host's own first. Never empty.
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

/// The boot host's private key, and the path of its file.
pub(super) fn server_key(state: &State) -> Result<(PathBuf, PrivateKeyDer<'static>)> {
    let path = pki_file(state, "server.key");
    let key = PrivateKeyDer::from_pem_file(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok((path, key))
}

/// Finds a PKI file: systemd's credential of that name takes precedence over the state's own file.
fn pki_file(state: &State, name: &str) -> PathBuf {
    let credential = credentials().map(|dir| dir.join(name));
    credential.filter(|path| path.exists()).unwrap_or_else(|| state.pki_file(name))
}
