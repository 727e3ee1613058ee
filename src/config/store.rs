//! `[store]`: what several boot hosts share.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http::Uri;
use serde::Deserialize;
use serde::Deserializer;
use serde::de;

use super::duration;
use super::url::port;

/// What several boot hosts share.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Store {
    /// Where it is: `s3://bucket/prefix`, or `file:///directory`. Left out, this boot host
    /// is alone.
    pub url: Option<StoreUrl>,
    /// The S3 address, if it is not Amazon's.
    pub endpoint: Option<Endpoint>,
    /// Its region.
    pub region: String,
    /// File with the key, 0600. Without it, systemd's credential `store`.
    pub credentials: Option<PathBuf>,
    /// How often this host looks for what others wrote, and delivers what it wrote itself.
    #[serde(deserialize_with = "interval")]
    pub interval: Duration,
    /// Longest wait for one answer.
    #[serde(deserialize_with = "interval")]
    pub timeout: Duration,
    /// So many bytes of files are kept here, and more only of generations that gateways may
    /// boot next. Without it, all that ever came are kept.
    #[serde(deserialize_with = "size")]
    pub cache_size: Option<u64>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: None,
            endpoint: None,
            region: "us-east-1".to_owned(),
            credentials: None,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
            cache_size: None,
        }
    }
}

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// A bucket, and what all names in it begin with (perhaps nothing).
    S3 {
        /// The bucket.
        bucket: String,
        /// Without slashes at its ends.
        prefix: String,
    },
    /// A directory, on a file system that all boot hosts see.
    Directory(PathBuf),
}

impl FromStr for StoreUrl {
    type Err = ParseStoreUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason| ParseStoreUrlError { url: text.to_owned(), reason };
        if let Some(path) = text.strip_prefix("file://") {
            let absolute = path.starts_with('/') && !path.contains(['?', '#', '%']);
            return if absolute {
                Ok(Self::Directory(path.into()))
            } else {
                Err(error("a directory is named by its whole path, as in file:///srv/farmgate"))
            };
        }
        let rest = text.strip_prefix("s3://").ok_or_else(|| error("it must begin with s3://"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if bucket.is_empty() || !bucket.chars().all(plain) {
            return Err(error("its bucket is no name of one"));
        }
        let part = |part: &str| !part.is_empty() && part.chars().all(plain) && part != "..";
        if !(prefix.is_empty() || prefix.split('/').all(part)) {
            return Err(error("what follows the bucket may hold letters, digits, -, ., _ and /"));
        }
        Ok(Self::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::Directory(path) => write!(f, "file://{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for StoreUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The text is not the URL of a store.
#[derive(Debug, thiserror::Error)]
#[error("{url:?} cannot be a store: {reason} (example: s3://bucket/prefix)")]
pub struct ParseStoreUrlError {
    url: String,
    reason: &'static str,
}

/// The address of an S3 server. Without TLS only on this machine: what is in a store would
/// otherwise cross the network for everybody to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(String);

impl Endpoint {
    /// The URL without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is spoken to with TLS.
    pub fn tls(&self) -> bool {
        self.0.starts_with("https://")
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri = text.parse::<Uri>().ok();
        let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
        let bare = host.trim_matches(['[', ']']);
        let loopback = bare == "localhost"
            || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        match uri.as_ref().and_then(Uri::scheme_str) {
            Some("https") if !host.is_empty() => {}
            Some("http") if loopback => {}
            _ => {
                return Err(format!(
                    "{text:?} cannot be the address of a store: expected something like \
                     \"https://s3.example.org\" (http:// only on this machine)"
                ));
            }
        }
        uri.as_ref().and_then(Uri::authority).map(port).transpose()?;
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

fn interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let interval = duration(deserializer)?;
    if interval.is_zero() {
        return Err(de::Error::custom("at least \"1s\" is needed"));
    }
    Ok(interval)
}

/// Reads `"500M"`, `"20G"`, `"1T"`: powers of 1000.
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = text.split_at_checked(text.len().saturating_sub(1)).and_then(|(count, unit)| {
        let count: u64 = count.parse().ok()?;
        let power = "kMGT".find(unit).filter(|_| !unit.is_empty())?;
        count.checked_mul(1000u64.pow(power as u32 + 1))
    });
    parsed.map(Some).ok_or_else(|| {
        de::Error::custom(format!("{text:?} is no size: expected something like \"20G\""))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_key() {
        let store: Store = toml::from_str(
            r#"
            url = "s3://farm/hosts/"
            endpoint = "https://s3.example.org/"
            region = "garage"
            credentials = "/etc/farmgate/store.key"
            interval = "5s"
            timeout = "3s"
            cache-size = "20G"
            "#,
        )
        .unwrap();
        assert_eq!(store.url.unwrap().to_string(), "s3://farm/hosts");
        assert_eq!(store.endpoint.unwrap().as_str(), "https://s3.example.org");
        assert_eq!(store.cache_size, Some(20_000_000_000));
        assert!(toml::from_str::<Store>("key = 'x'").is_err());
    }

    #[test]
    fn refuses_what_is_no_store_and_no_address() {
        for bad in ["", "farm", "s3://", "s3:///x", "s3://a/b//c", "s3://a/../b", "file://x"] {
            assert!(bad.parse::<StoreUrl>().is_err(), "{bad:?} was taken");
        }
        for bad in [
            "http://s3.example.org",
            "s3.example.org",
            "https://",
            "ftp://127.0.0.1",
            "https://a:99999",
        ] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad:?} was taken");
        }
        for good in ["http://127.0.0.1:3900", "http://[::1]:3900", "http://localhost:1"] {
            assert!(!good.parse::<Endpoint>().unwrap().tls(), "{good:?} was refused");
        }
        for bad in ["20", "G", "20g", "", "20 G", "99999999999T"] {
            assert!(toml::from_str::<Store>(&format!("cache-size = {bad:?}")).is_err(), "{bad:?}");
        }
    }
}
