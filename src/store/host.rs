use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use super::State;
use super::files;

impl State {
    /// Writes to `dir`, which must not be there, what another boot host of this fleet is
    /// made of. The CA's key is not: one host issues certificates, all others only serve.
    pub fn new_host(&self, dir: &Path) -> Result<()> {
        ensure!(!dir.exists(), "{} is there already; nothing was changed", dir.display());
        // Made when it is first asked for; both hosts must have the same.
        self.token_key()?;
        for (name, mode) in [
            ("", 0o711),
            ("pki", 0o700),
            ("gateways", 0o700),
            ("cache", 0o700),
            ("store", 0o711),
            ("store/blobs", 0o711),
            ("store/gateways", 0o700),
        ] {
            files::create_dir(&dir.join(name), mode)?;
        }
        // `format` comes last: what was interrupted is no state.
        for (name, mode) in [
            ("pki/ca.crt", 0o644),
            ("pki/server.crt", 0o644),
            ("pki/server.key", 0o600),
            ("pki/crl.pem", 0o644),
            ("token.key", 0o600),
            ("farmgate.toml", 0o644),
            ("format", 0o644),
        ] {
            let path = self.dir().join(name);
            let bytes = match fs::read(&path) {
                // The configuration may be elsewhere.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && name == "farmgate.toml" =>
                {
                    continue;
                }
                bytes => bytes.with_context(|| format!("cannot read {}", path.display()))?,
            };
            files::replace(&dir.join(name), mode, |file| file.write_all(&bytes))?;
        }
        Ok(())
    }
}
