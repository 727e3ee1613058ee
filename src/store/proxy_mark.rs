//! The secret by which the server knows its nginx: `STATE/proxy-mark.conf`, for nginx to include.
//!
//! In a state that had none, nobody can tell when nginx will know the new one. Until the server
//! has seen it once, `STATE/proxy-mark.new` lies beside it, and what nginx sent before still
//! counts: a farm must not stand still because somebody has looked at a configuration.

use std::io;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;

use super::files;
use super::layout;
use super::state::State;
use super::state::new_proxy_mark;
use crate::identity::ProxyMark;
use crate::identity::proves_without_secret;

/// What nginx' header proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NginxProof {
    /// It holds the secret: nobody else can have sent it.
    Secret,
    /// It is what an nginx sends that does not know the secret yet, and that still counts.
    WithoutSecret,
    /// Nothing.
    None,
}

impl NginxProof {
    fn without_secret<'a>(der: &[u8], values: impl Iterator<Item = &'a [u8]>) -> Self {
        if proves_without_secret(der, values) { Self::WithoutSecret } else { Self::None }
    }
}

impl State {
    /// Where the secret is.
    pub fn proxy_mark_file(&self) -> PathBuf {
        self.dir().join(layout::PROXY_MARK)
    }

    /// Whether nginx has proved with these values of its header that the client has the key of
    /// this certificate (DER).
    pub fn is_from_nginx<'a>(
        &self,
        der: &[u8],
        values: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<NginxProof> {
        let Some(mark) = self.proxy_mark()? else {
            return Ok(NginxProof::without_secret(der, values));
        };
        let new = self.dir().join(layout::PROXY_MARK_NEW);
        if mark.proves(der, values.clone()) {
            // From now on nothing else counts. A gateway must not stand still for it.
            if let Err(error) = files::remove_if_there(&new) {
                tracing::warn!("cannot remove {}: {error}", new.display());
            }
            return Ok(NginxProof::Secret);
        }
        Ok(if new.exists() { NginxProof::without_secret(der, values) } else { NginxProof::None })
    }

    /// Makes the secret, if there is none.
    pub fn ensure_proxy_mark(&self) -> Result<()> {
        let path = self.proxy_mark_file();
        // A user who can only read the state can print the configuration, too.
        if path.exists() {
            return Ok(());
        }
        let _lock = self.lock()?;
        if path.exists() {
            return Ok(());
        }
        let mark = new_proxy_mark()?;
        files::replace(&self.dir().join(layout::PROXY_MARK_NEW), layout::PRIVATE, |_| Ok(()))?;
        files::replace(&path, layout::PRIVATE, |file| file.write_all(mark.as_bytes()))
    }

    fn proxy_mark(&self) -> Result<Option<ProxyMark>> {
        let path = self.proxy_mark_file();
        let text = match files::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let damaged = || {
            anyhow!(
                "{} is damaged; remove it, run `farmgate nginx-config`, and reload nginx",
                path.display()
            )
        };
        ProxyMark::from_nginx(&text).ok_or_else(damaged).map(Some)
    }
}
