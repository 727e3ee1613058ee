//! The provider's credentials, from a file or from systemd. Disk.

use std::path::Path;

use anyhow::Result;
use anyhow::bail;
use serde::Deserialize;

use super::stored::Secret;
use crate::config::Buckets;
use crate::store::files;

/// Name of systemd's credential.
const CREDENTIAL: &str = "bucket-provider";

/// The provider's credentials.
#[derive(Debug)]
pub enum Credentials {
    /// An application key of B2.
    B2 { key_id: String, key: Secret },
    /// A bearer token for Garage's admin API.
    S3 { token: Secret },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct B2 {
    key_id: String,
    key: Secret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct S3 {
    admin_token: Secret,
}

impl Credentials {
    /// Reads them for the provider called `provider`: from the file that the configuration names,
    /// or from systemd's credentials directory.
    pub(super) fn read(
        buckets: &Buckets,
        provider: &'static str,
        systemd: Option<&Path>,
    ) -> Result<Self> {
        let secret = files::read_secret(buckets.credentials.as_deref(), systemd, CREDENTIAL)?;
        let Some((path, text)) = secret else {
            bail!(
                "there are no credentials for the provider of buckets: name a file with them in \
                 buckets.credentials, or pass them to the service with \
                 LoadCredential={CREDENTIAL}:FILE"
            )
        };
        let parsed = match provider {
            "b2" => toml::from_str(&text).map(|B2 { key_id, key }| Self::B2 { key_id, key }),
            _ => toml::from_str(&text).map(|S3 { admin_token }| Self::S3 { token: admin_token }),
        };
        // The parser's own message would quote the line with the secret.
        parsed.map_err(|_| {
            let expected = if provider == "b2" {
                "key-id = \"...\" and key = \"...\""
            } else {
                "admin-token = \"...\""
            };
            anyhow::anyhow!("{} must hold {expected} and nothing else", path.display())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read(text: &str, mode: u32, provider: &'static str) -> Result<Credentials, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let buckets = Buckets { credentials: Some(file.path().to_owned()), ..Buckets::default() };
        Credentials::read(&buckets, provider, None).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn they_are_for_the_provider_and_for_nobody_elses_eyes() {
        let b2 = "key-id = \"0051\"\nkey = \"K005unmistakable\"\n";
        assert!(matches!(read(b2, 0o600, "b2"), Ok(Credentials::B2 { .. })));
        assert!(!format!("{:?}", read(b2, 0o400, "b2")).contains("unmistakable"));
        assert!(read(b2, 0o640, "b2").unwrap_err().contains("chmod 600"));
        for (text, provider) in [
            (b2, "s3"),
            ("admin-token = \"unmistakable\"", "b2"),
            ("key-id = \"a\"\nkey = \"unmistakable", "b2"),
            ("K005unmistakable", "b2"),
        ] {
            let error = read(text, 0o600, provider).unwrap_err();
            assert!(error.contains("must hold") && !error.contains("unmist"), "{error}");
        }
        let none = Credentials::read(&Buckets::default(), "b2", None).unwrap_err();
        assert!(none.to_string().contains("buckets.credentials"));
    }
}
