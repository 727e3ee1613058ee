use std::path::Path;

use anyhow::Result;
use anyhow::bail;
use serde::Deserialize;

use super::stored::Secret;
use crate::config::Buckets;
use crate::store::files;

/// Name of systemd's credential.
const CREDENTIAL: &str = "bucket-provider";

/// What proves to the provider that it is us.
#[derive(Debug)]
pub enum Credentials {
    /// An application key of B2.
    B2 {
        /// `keyID`.
        key_id: String,
        /// `applicationKey`.
        key: Secret,
    },
    /// Garage's admin API.
    S3 {
        /// A bearer token.
        token: Secret,
    },
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
    /// Reads them for the provider called `provider`: from the configuration's file, or from
    /// the folder that systemd puts credentials in.
    pub(super) fn read(
        buckets: &Buckets,
        provider: &'static str,
        systemd: Option<&Path>,
    ) -> Result<Self> {
        let secret = files::read_secret(buckets.credentials.as_deref(), systemd, CREDENTIAL)?;
        let Some((path, text)) = secret else {
            bail!(
                "there are no credentials for the provider of buckets: name a file with them in \
                 buckets.credentials, or hand them to the service with \
                 LoadCredential={CREDENTIAL}:FILE"
            )
        };
        let parsed = match provider {
            "b2" => toml::from_str(&text).map(|B2 { key_id, key }| Self::B2 { key_id, key }),
            _ => toml::from_str(&text).map(|S3 { admin_token }| Self::S3 { token: admin_token }),
        };
        // The parser's own words would quote the line, and the secret in it.
        parsed.map_err(|_| {
            let expected = if provider == "b2" {
                "key-id = \"...\" and key = \"...\""
            } else {
                "admin-token = \"...\""
            };
            anyhow::anyhow!("{} does not hold just {expected}", path.display())
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
            assert!(error.contains("does not hold") && !error.contains("unmist"), "{error}");
        }
        let none = Credentials::read(&Buckets::default(), "b2", None).unwrap_err();
        assert!(none.to_string().contains("buckets.credentials"));
    }
}
