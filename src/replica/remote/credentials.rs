//! The key of the shared store. Reads a file.

use std::path::Path;

use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;
use serde::Deserialize;

use crate::config;
use crate::store::files;

/// Name of the systemd credential.
const CREDENTIAL: &str = "store";

/// An access key. Never shown.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Key {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
}

impl Key {
    /// Reads the key from the file that the configuration names, or from systemd's credentials.
    pub(super) fn read(config: &config::Store, systemd: Option<&Path>) -> Result<Self> {
        let secret = files::read_secret(config.credentials.as_deref(), systemd, CREDENTIAL)?;
        let Some((path, text)) = secret else {
            bail!(
                "there is no key for the store: name a file with it in [store] credentials, or \
                 hand it to the service with LoadCredential={CREDENTIAL}:FILE"
            )
        };
        // The parser's own words would quote the line, and the secret in it.
        toml::from_str(&text).map_err(|_| {
            anyhow!(
                "{} does not hold just access-key-id = \"...\" and secret-access-key = \"...\"",
                path.display()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn reads_a_key_that_only_its_owner_can_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let read = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let config = config::Store { credentials: Some(path.clone()), ..Default::default() };
            Key::read(&config, None).map(|key| key.access_key_id).map_err(|e| format!("{e:#}"))
        };
        let text = "access-key-id = \"GK1\"\nsecret-access-key = \"unmistakable\"\n";
        assert_eq!(read(text, 0o600).unwrap(), "GK1");
        assert!(read(text, 0o644).unwrap_err().contains("chmod 600"));
        let error = read(&format!("{text}more = 1\n"), 0o600).unwrap_err();
        assert!(error.contains("access-key-id") && !error.contains("unmistakable"), "{error}");
        let none = Key::read(&config::Store::default(), Some(dir.path())).map(drop);
        assert!(none.unwrap_err().to_string().contains("LoadCredential=store"));
    }
}
