//! The secret by which the server recognises its nginx: `STATE/proxy-mark.conf`, for nginx to
//! include.
//!
//! A state that just got its secret cannot know when nginx will load it. Until nginx has sent the
//! secret once, `STATE/proxy-mark.new` exists beside it, and nginx' earlier header still counts. A
//! farm must not stop because an operator printed a configuration. Touches the disk.

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

/// The proof in nginx' header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NginxProof {
    /// The header holds the secret: only nginx can have sent it.
    Secret,
    /// The header of an nginx that does not know the secret yet; it still counts.
    WithoutSecret,
    /// The header proves nothing.
    None,
}

impl NginxProof {
    fn without_secret<'a>(der: &[u8], values: impl Iterator<Item = &'a [u8]>) -> Self {
        if proves_without_secret(der, values) { Self::WithoutSecret } else { Self::None }
    }
}

impl State {
    /// The path of the secret.
    pub fn proxy_mark_file(&self) -> PathBuf {
        self.dir().join(layout::PROXY_MARK)
    }

    /// Verifies nginx' header values, which prove that the client has the key of this certificate
    /// (DER).
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
            // From now on only the secret counts. A failure here must not stop a gateway.
            if let Err(error) = files::remove_if_there(&new) {
                tracing::warn!("cannot remove {}: {error}", new.display());
            }
            return Ok(NginxProof::Secret);
        }
        Ok(if new.exists() { NginxProof::without_secret(der, values) } else { NginxProof::None })
    }

    /// Makes the secret if it is missing.
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
