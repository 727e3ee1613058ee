use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use serde::Deserialize;

use super::stored::Secret;
use crate::config::Buckets;

/// Name of systemd's credential.
const CREDENTIAL: &str = "bucket-provider";

/// Longer than any credentials.
const MAX_LEN: u64 = 16 * 1024;

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
        if let Some(path) = &buckets.credentials {
            return Self::from_file(path, provider, true);
        }
        match systemd.map(|dir| dir.join(CREDENTIAL)).filter(|path| path.exists()) {
            // Their permissions are systemd's affair.
            Some(path) => Self::from_file(&path, provider, false),
            None => bail!(
                "there are no credentials for the provider of buckets: name a file with them in \
                 buckets.credentials, or hand them to the service with \
                 LoadCredential={CREDENTIAL}:FILE"
            ),
        }
    }

    fn from_file(path: &Path, provider: &'static str, ours: bool) -> Result<Self> {
        let cannot = || format!("cannot read {}", path.display());
        let file = File::open(path).with_context(cannot)?;
        let mode = file.metadata().with_context(cannot)?.mode();
        ensure!(
            !ours || mode & 0o077 == 0,
            "{0} can be read by others (mode {1:o}): chmod 600 {0}, and make new credentials if \
             others may have done so",
            path.display(),
            mode & 0o777
        );
        let mut text = String::new();
        file.take(MAX_LEN).read_to_string(&mut text).with_context(cannot)?;
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
