use std::io;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::OffsetDateTime;

use super::State;
use super::files;
use super::owner::as_caller;
use super::proxy_mark;
use super::proxy_mark::PROXY_MARK_FILE;
use super::proxy_mark::new_proxy_mark;
use crate::config::BootUrl;
use crate::config::Config;
use crate::identity::check_host;

impl State {
    /// Writes to `dir`, which must not be there, what another boot host of this fleet is
    /// made of, and where gateways find it if that is not where they find this one. The CA's
    /// key is not: one host issues certificates, all others only serve.
    pub fn new_host(&self, dir: &Path, url: Option<&BootUrl>, now: OffsetDateTime) -> Result<()> {
        ensure!(
            !as_caller(|| dir.exists()),
            "{} is there already; nothing was changed",
            dir.display()
        );
        if let Some(url) = url {
            let path = self.pki_file("server.crt");
            let own = self.read_pki("server.crt").map_err(anyhow::Error::from);
            let own: Vec<_> = own
                .and_then(|pem| Ok(CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>()?))
                .with_context(|| format!("cannot read {}", path.display()))?;
            check_host(&own, &self.ca_certificate()?, url.host(), now).with_context(|| {
                format!(
                    "all boot hosts of a fleet have the same certificate, and it is not good for \
                     {0}: `farmgate pki renew --san {0}`, then systemctl reload farmgate nginx",
                    url.host()
                )
            })?;
        }
        // Made when it is first asked for; both hosts must have the same.
        self.token_key()?;
        for (name, mode) in [
            ("", 0o711),
            ("pki", 0o700),
            ("gateways", 0o700),
            ("cache", 0o700),
            ("store", 0o711),
            ("store/blobs", 0o711),
            ("store/private", 0o700),
            ("store/gateways", 0o700),
        ] {
            as_caller(|| files::create_own_dir(&dir.join(name), mode))?;
        }
        // Each host has its own nginx, and a secret with it.
        let mark = new_proxy_mark()?;
        files::export(&dir.join(PROXY_MARK_FILE), proxy_mark::MODE, |file| {
            file.write_all(mark.as_bytes())
        })?;
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
            let read = match name.strip_prefix("pki/") {
                Some(name) => self.read_pki(name),
                None => files::read(&path),
            };
            let bytes = match (read, name, url) {
                // The configuration may be elsewhere.
                (Err(error), "farmgate.toml", None) if error.kind() == io::ErrorKind::NotFound => {
                    continue;
                }
                (Ok(text), "farmgate.toml", Some(url)) => {
                    let text = String::from_utf8(text)?;
                    Config::with_url(&text, url)?.into_bytes()
                }
                (bytes, ..) => bytes.with_context(|| format!("cannot read {}", path.display()))?,
            };
            files::export(&dir.join(name), mode, |file| file.write_all(&bytes))?;
        }
        Ok(())
    }
}
