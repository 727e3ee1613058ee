//! `[buckets]`: who keeps the gateways' buckets, and what gateways are told about them. Pure.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::Deserializer;
use serde::de;

use super::api_url::ApiUrl;
use super::period;
use super::size;
use super::text::parsed;

/// Backblaze's own address.
const B2: &str = "https://api.backblazeb2.com";

/// Longest server name in the name of a valve-infra bucket: 18 of 50 characters must be left for
/// a fingerprint.
const MAX_SERVER_NAME: usize = 26;

const PROVIDERS: &str = "\"none\", \"b2\" or \"s3\"";

/// The source of each gateway's bucket.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Written")]
pub struct Buckets {
    /// The provider of the buckets; `None` if gateways have none.
    pub provider: Option<Provider>,
    /// File with the provider's credentials, mode 0600. Without it, systemd's credential
    /// `bucket-provider`.
    pub credentials: Option<PathBuf>,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// `server-name` of a valve-infra ipxe-boot-server whose buckets are taken over.
    pub valve_infra_server_name: Option<String>,
}

/// A provider of buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Backblaze B2, by its native API.
    B2 {
        /// Address of the API.
        api: ApiUrl,
        /// S3 address for gateways. Without it, the account's own.
        endpoint: Option<ApiUrl>,
        /// Region of that address.
        region: Option<String>,
    },
    /// Garage: buckets and keys by its admin API, data by S3.
    S3 {
        /// Address of the admin API.
        api: ApiUrl,
        /// S3 address for gateways.
        endpoint: ApiUrl,
        /// Region of that address.
        region: Option<String>,
        /// Most bytes in one bucket.
        quota: Option<u64>,
    },
}

impl Provider {
    /// Its name in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::B2 { .. } => "b2",
            Self::S3 { .. } => "s3",
        }
    }

    /// S3 address and region for gateways, if the configuration has them.
    pub fn endpoint(&self) -> Option<(&ApiUrl, Option<&str>)> {
        let (endpoint, region) = match self {
            Self::B2 { endpoint, region, .. } => (endpoint.as_ref()?, region),
            Self::S3 { endpoint, region, .. } => (endpoint, region),
        };
        Some((endpoint, region.as_deref()))
    }

    /// Most bytes in one bucket, if the provider can limit them.
    pub fn quota(&self) -> Option<u64> {
        match self {
            Self::B2 { .. } => None,
            Self::S3 { quota, .. } => *quota,
        }
    }
}

impl Default for Buckets {
    fn default() -> Self {
        Self {
            provider: None,
            credentials: None,
            timeout: Duration::from_secs(30),
            valve_infra_server_name: None,
        }
    }
}

/// The table as it is written, before its keys are checked against each other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    provider: Word,
    api_url: Option<ApiUrl>,
    s3_endpoint: Option<ApiUrl>,
    s3_region: Option<Plain>,
    #[serde(default, deserialize_with = "size::deserialize_positive")]
    quota: Option<u64>,
    credentials: Option<PathBuf>,
    #[serde(default = "default_timeout", deserialize_with = "period::deserialize_positive")]
    timeout: Duration,
    valve_infra_server_name: Option<Plain>,
}

enum Word {
    None,
    B2,
    S3,
}

impl FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "b2" => Ok(Self::B2),
            "s3" => Ok(Self::S3),
            _ => Err(format!("{text:?} is not a provider: expected {PROVIDERS}")),
        }
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, PROVIDERS)
    }
}

fn default_timeout() -> Duration {
    Buckets::default().timeout
}

impl TryFrom<Written> for Buckets {
    type Error = BucketsError;

    fn try_from(written: Written) -> Result<Self, BucketsError> {
        let Written { provider, api_url, s3_endpoint: endpoint, s3_region, quota, .. } = written;
        let region = s3_region.map(|Plain(region)| region);
        if api_url.as_ref().is_some_and(|api| !api.is_private()) {
            return Err(BucketsError::InTheClear);
        }
        let provider = match provider {
            Word::None => {
                let set = [
                    (api_url.is_some(), "api-url"),
                    (endpoint.is_some(), "s3-endpoint"),
                    (region.is_some(), "s3-region"),
                    (quota.is_some(), "quota"),
                    (written.credentials.is_some(), "credentials"),
                ];
                if let Some((_, key)) = set.into_iter().find(|(set, _)| *set) {
                    return Err(BucketsError::WithoutProvider { key });
                }
                None
            }
            Word::B2 if quota.is_some() => return Err(BucketsError::NoQuota),
            Word::B2 => {
                let api =
                    api_url.map_or_else(|| B2.parse(), Ok).map_err(|_| BucketsError::NoApi)?;
                Some(Provider::B2 { api, endpoint, region })
            }
            Word::S3 => Some(Provider::S3 {
                api: api_url.ok_or(BucketsError::NoApi)?,
                endpoint: endpoint.ok_or(BucketsError::NoEndpoint)?,
                region,
                quota,
            }),
        };
        let server_name = written.valve_infra_server_name.map(|Plain(name)| name);
        if server_name.as_ref().is_some_and(|name| name.len() > MAX_SERVER_NAME) {
            return Err(BucketsError::LongServerName);
        }
        Ok(Self {
            provider,
            credentials: written.credentials,
            timeout: written.timeout,
            valve_infra_server_name: server_name,
        })
    }
}

/// Keys of `[buckets]` that contradict each other.
#[derive(Debug, thiserror::Error)]
pub enum BucketsError {
    /// A key that needs a provider.
    #[error("buckets.{key} is set, but buckets.provider is \"none\": set it to \"b2\" or \"s3\"")]
    WithoutProvider {
        /// The key.
        key: &'static str,
    },
    /// B2 limits no bucket.
    #[error("buckets.quota is set, but b2 has no quota for one bucket: leave it out")]
    NoQuota,
    /// Only B2 has an address that everybody knows.
    #[error("buckets.api-url is missing: with \"s3\" it is the address of Garage's admin API")]
    NoApi,
    /// Gateways would not know where their buckets are.
    #[error("buckets.s3-endpoint is missing: it is the address of the S3 API for gateways")]
    NoEndpoint,
    /// The credentials for all buckets are sent to it.
    #[error("buckets.api-url must begin with https://, unless it is on this machine")]
    InTheClear,
    /// Too little of a fingerprint would be left.
    #[error("buckets.valve-infra-server-name is longer than {MAX_SERVER_NAME} characters")]
    LongServerName,
}

/// Letters, digits, `-`, `_` and `.`: a text that needs no quoting anywhere.
struct Plain(String);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if text.is_empty() || !text.chars().all(plain) {
            let error = format!("{text:?}: expected letters, digits, \"-\", \"_\" and \".\"");
            return Err(de::Error::custom(error));
        }
        Ok(Self(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(table: &str) -> Result<Buckets, String> {
        let text = format!("url = \"https://a\"\n[buckets]\n{table}\n");
        let config = crate::config::Config::parse(&text);
        config.map(|config| config.buckets).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_both_providers_and_none() {
        assert_eq!(parse("provider = \"none\"").unwrap().provider, None);
        let b2 = parse("provider = \"b2\"\ncredentials = \"/etc/b2\"").unwrap();
        let Some(Provider::B2 { api, .. }) = b2.provider else { panic!("not b2") };
        assert_eq!((api.as_str(), api.host(), api.port()), (B2, "api.backblazeb2.com", 443));
        let s3 = parse(
            "provider = \"s3\"\napi-url = \"https://[2001:db8::1]:3903/admin/\"\n\
             s3-endpoint = \"http://garage.lan:3900\"\ns3-region = \"garage\"\nquota = \"20GiB\"",
        );
        let Some(Provider::S3 { api, quota, .. }) = s3.unwrap().provider else { panic!("not s3") };
        assert_eq!((api.host(), api.port(), api.path()), ("2001:db8::1", 3903, "/admin"));
        assert_eq!(quota, Some(20 << 30));
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        let s3 = "provider = \"s3\"\napi-url = \"https://g\"\ns3-endpoint = \"https://s\"\n";
        for (table, expected) in [
            ("provider = \"none\"\nquota = \"1GB\"", "buckets.quota"),
            ("provider = \"none\"\ncredentials = \"x\"", "buckets.credentials"),
            ("provider = \"b2\"\nquota = \"1GB\"", "buckets.quota"),
            ("provider = \"s3\"\ns3-endpoint = \"https://s\"", "buckets.api-url"),
            ("provider = \"s3\"\napi-url = \"https://g\"", "buckets.s3-endpoint"),
            ("provider = \"b2\"\napi-url = \"http://192.0.2.1\"", "buckets.api-url"),
            ("provider = \"b2\"\ntimeout = \"0s\"", "timeout = \"0s\""),
            ("provider = \"b2\"\nkey = \"secret\"", "unknown field `key`"),
            ("provider = \"gcs\"", "gcs"),
            (&format!("{s3}quota = \"many\""), "not a size"),
            (&format!("{s3}quota = \"0GB\""), "too small"),
            (&format!("{s3}s3-region = \"a b\""), "a b"),
            ("provider = \"b2\"\napi-url = \"https://a/$x\"", "cannot hold '$'"),
            (
                "provider = \"b2\"\nvalve-infra-server-name = \"abcdefghijklmnopqrstuvwxyz0\"",
                "valve-infra-server-name",
            ),
        ] {
            let error = parse(table).unwrap_err();
            assert!(error.contains(expected), "{table}: {error}");
        }
    }
}
