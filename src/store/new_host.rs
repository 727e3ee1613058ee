//! The state of another boot host of the same fleet. Reads this state, and writes a directory
//! outside of it.

use std::io;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::OffsetDateTime;

use super::files;
use super::layout;
use super::layout::FILES;
use super::layout::FOLDERS;
use super::layout::ForNewHost;
use super::layout::Made;
use super::owner::as_caller;
use super::state::State;
use super::state::new_proxy_mark;
use crate::config::BootUrl;
use crate::config::Config;
use crate::identity::check_host;

impl State {
    /// Writes the state of another boot host of this fleet to `dir`, which must not exist. `url` is
    /// the address of that host, if it has a name of its own. The CA's key is not copied: one host
    /// issues certificates, all others only serve.
    pub fn new_host(&self, dir: &Path, url: Option<&BootUrl>, now: OffsetDateTime) -> Result<()> {
        ensure!(
            !as_caller(|| dir.exists()),
            "{} is there already; nothing was changed",
            dir.display()
        );
        if let Some(url) = url {
            let path = self.pki_file(layout::SERVER);
            let own = self.read_pki(layout::SERVER).map_err(anyhow::Error::from);
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
        // It is made on first use; both hosts must have the same.
        self.token_key()?;
        as_caller(|| files::create_own_dir(dir, layout::STATE_MODE))?;
        for folder in FOLDERS.iter().filter(|folder| folder.made == Made::AtInit) {
            as_caller(|| files::create_own_dir(&dir.join(folder.path), folder.mode))?;
        }
        // Each host has its own nginx and its own shared secret with it.
        let mark = new_proxy_mark()?;
        files::export(&dir.join(layout::PROXY_MARK), layout::PRIVATE, |file| {
            file.write_all(mark.as_bytes())
        })?;
        for file in FILES.iter().filter(|file| file.for_new_host == ForNewHost::Copied) {
            let (name, mode) = (file.path, file.mode);
            let path = self.dir().join(name);
            let read = match name.strip_prefix("pki/") {
                Some(name) => self.read_pki(name),
                None => files::read(&path),
            };
            let bytes = match (read, name, url) {
                // The configuration may be elsewhere.
                (Err(error), layout::CONFIG, None) if error.kind() == io::ErrorKind::NotFound => {
                    continue;
                }
                (Ok(text), layout::CONFIG, Some(url)) => {
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
