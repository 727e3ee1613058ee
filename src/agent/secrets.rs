//! The boot's secrets, and what the agent itself needs of them. Pure.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::volumes::Access;
use crate::profile::secrets::BOOT_CA;
use crate::profile::secrets::BOOT_TOKEN;
use crate::profile::secrets::BOOT_URL;
use crate::profile::secrets::Line;
use crate::profile::secrets::S3_ACCESS_KEY;
use crate::profile::secrets::S3_ACCESS_KEY_ID;
use crate::profile::secrets::S3_BUCKET;
use crate::profile::secrets::S3_ENDPOINT;
use crate::profile::secrets::S3_REGION;

/// Values by their names. Shows none of them.
#[derive(Clone, Default)]
pub struct Secrets(BTreeMap<String, String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A line that should be there is not.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the boot's secrets have no usable line {0}: the boot host did not make them for an agent")]
pub struct Unusable(pub &'static str);

/// The boot host's address, and the ways to know it and to be known to it.
#[derive(Clone)]
pub struct BootHost {
    /// Its origin: `https://boot.example.org:8443`.
    pub url: String,
    /// DER of the CA that issued its certificate.
    pub ca: Vec<u8>,
    pub token: String,
}

impl Secrets {
    /// Reads the lines. Of two with the same name the last one counts: farmgate's own follow those
    /// of the operator.
    pub fn parse(text: &str) -> Self {
        // Nobody checked a template that only the boot host has: space around a name and Windows
        // line ends are no part of a secret.
        let pair = |line| match Line::parse(line) {
            Line::Secret(name, value) => {
                Some((name.trim().to_owned(), value.trim_end_matches('\r').to_owned()))
            }
            Line::Nothing | Line::Strange => None,
        };
        Self(text.lines().filter_map(pair).collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The gateway's bucket, if it has one.
    pub fn bucket(&self) -> Option<Access<'_>> {
        Some(Access {
            endpoint: self.get(S3_ENDPOINT)?,
            region: self.get(S3_REGION),
            bucket: self.get(S3_BUCKET)?,
            key_id: self.get(S3_ACCESS_KEY_ID)?,
            key: self.get(S3_ACCESS_KEY)?,
        })
    }

    pub fn boot_host(&self) -> Result<BootHost, Unusable> {
        let line = |name| self.get(name).ok_or(Unusable(name));
        let url = line(BOOT_URL)?.trim_end_matches('/');
        if !url.starts_with("https://") {
            return Err(Unusable(BOOT_URL));
        }
        let ca = BASE64_STANDARD.decode(line(BOOT_CA)?).map_err(|_| Unusable(BOOT_CA))?;
        let token = line(BOOT_TOKEN)?.to_owned();
        if !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return Err(Unusable(BOOT_TOKEN));
        }
        Ok(BootHost { url: url.to_owned(), ca, token })
    }
}

impl FromIterator<(String, String)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "A=b=c\n# X=y\n\nEMPTY=\nFARMGATE_URL=http://attacker\r\n\
        FARMGATE_URL=https://boot:8443/\nFARMGATE_CA=AAEC\nFARMGATE_TOKEN=a.b-C_1\n";

    #[test]
    fn lines_are_read_and_the_last_of_a_name_counts() {
        let secrets = Secrets::parse(LINES);
        assert_eq!(secrets.get("A"), Some("b=c"));
        assert_eq!(secrets.get("X"), None);
        assert_eq!(secrets.get("EMPTY"), None);
        let host = secrets.boot_host().ok().unwrap();
        assert_eq!((host.url.as_str(), host.token.as_str()), ("https://boot:8443", "a.b-C_1"));
        assert_eq!(host.ca, [0, 1, 2]);
    }

    #[test]
    fn a_bucket_is_there_with_all_of_its_lines_and_not_without_one() {
        const BUCKET: &str = "S3_ENDPOINT=https://s3\nS3_REGION=\nS3_BUCKET=lab-1\n\
            S3_ACCESS_KEY_ID=id\nS3_ACCESS_KEY=key\n";
        let secrets = Secrets::parse(BUCKET);
        let Access { endpoint, region, bucket, key_id, key } = secrets.bucket().unwrap();
        assert_eq!((endpoint, bucket, key_id, key), ("https://s3", "lab-1", "id", "key"));
        assert_eq!(region, None);
        for name in ["S3_ENDPOINT", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_ACCESS_KEY"] {
            // As the boot host writes them for a gateway without a bucket.
            let without = format!("{BUCKET}{name}=\n");
            assert!(Secrets::parse(&without).bucket().is_none(), "{name}");
        }
    }

    #[test]
    fn values_are_not_shown() {
        let shown = format!("{:?}", Secrets::parse(LINES));
        assert!(shown.contains("FARMGATE_TOKEN") && !shown.contains("a.b-C_1"), "{shown}");
    }

    #[test]
    fn what_is_no_address_certificate_or_token_is_named() {
        let without = |line: &str, instead: &str| {
            let text: Vec<&str> = LINES.lines().filter(|other| !other.starts_with(line)).collect();
            Secrets::parse(&format!("{}\n{instead}", text.join("\n"))).boot_host().err()
        };
        assert_eq!(without("FARMGATE_URL", "FARMGATE_URL=http://boot"), Some(Unusable(BOOT_URL)));
        assert_eq!(without("FARMGATE_CA", "FARMGATE_CA=%"), Some(Unusable(BOOT_CA)));
        assert_eq!(without("FARMGATE_TOKEN", ""), Some(Unusable(BOOT_TOKEN)));
        assert_eq!(without("FARMGATE_TOKEN", "FARMGATE_TOKEN=/../x"), Some(Unusable(BOOT_TOKEN)));
    }
}
