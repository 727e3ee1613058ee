//! `[buckets]`: who keeps the gateways' buckets, and what gateways are told of them.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::Deserializer;
use serde::de;

use super::ApiUrl;
use super::duration;

/// Backblaze's own address.
const B2: &str = "https://api.backblazeb2.com";

/// Longest part of a valve-infra bucket's name that may come from its server's name:
/// 18 of 50 characters must be left for a fingerprint.
const MAX_SERVER_NAME: usize = 26;

/// Where each gateway's bucket comes from.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Written")]
pub struct Buckets {
    /// Who keeps the buckets; `None` if gateways have none.
    pub provider: Option<Provider>,
    /// File with the credentials for the provider, 0600. Without it, systemd's
    /// credential `bucket-provider`.
    pub credentials: Option<PathBuf>,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// `server-name` of a valve-infra ipxe-boot-server whose buckets are taken over.
    pub valve_infra_server_name: Option<String>,
}

/// Who keeps buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Backblaze B2, by its native API.
    B2 {
        /// The API.
        api: ApiUrl,
        /// S3 address that gateways are told, in place of the account's own.
        endpoint: Option<ApiUrl>,
        /// Its region.
        region: Option<String>,
    },
    /// Garage: buckets and keys by its admin API, data by S3.
    S3 {
        /// The admin API.
        api: ApiUrl,
        /// S3 address that gateways are told.
        endpoint: ApiUrl,
        /// Its region.
        region: Option<String>,
        /// Most bytes in one bucket.
        quota: Option<u64>,
    },
}

impl Provider {
    /// The word for it in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::B2 { .. } => "b2",
            Self::S3 { .. } => "s3",
        }
    }

    /// S3 address and region that gateways are told, where the configuration says.
    pub fn endpoint(&self) -> Option<(&ApiUrl, Option<&str>)> {
        let (endpoint, region) = match self {
            Self::B2 { endpoint, region, .. } => (endpoint.as_ref()?, region),
            Self::S3 { endpoint, region, .. } => (endpoint, region),
        };
        Some((endpoint, region.as_deref()))
    }

    /// Most bytes in one bucket, where the provider can see to that.
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

/// The table as it is written, before its keys are held against each other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    provider: Word,
    api_url: Option<ApiUrl>,
    s3_endpoint: Option<ApiUrl>,
    s3_region: Option<Plain>,
    quota: Option<Size>,
    credentials: Option<PathBuf>,
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    timeout: Duration,
    valve_infra_server_name: Option<Plain>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    None,
    B2,
    S3,
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
                quota: quota.map(|Size(bytes)| bytes),
            }),
        };
        let server_name = written.valve_infra_server_name.map(|Plain(name)| name);
        if server_name.as_ref().is_some_and(|name| name.len() > MAX_SERVER_NAME) {
            return Err(BucketsError::LongServerName);
        }
        if written.timeout.is_zero() {
            return Err(BucketsError::NoTime);
        }
        Ok(Self {
            provider,
            credentials: written.credentials,
            timeout: written.timeout,
            valve_infra_server_name: server_name,
        })
    }
}

/// Keys of `[buckets]` that do not go together.
#[derive(Debug, thiserror::Error)]
pub enum BucketsError {
    /// A key that means nothing without a provider.
    #[error("buckets.{key} is set, but buckets.provider is \"none\": set it to \"b2\" or \"s3\"")]
    WithoutProvider {
        /// The key.
        key: &'static str,
    },
    /// B2 has none.
    #[error("buckets.quota is set, but b2 has no quota for one bucket: leave it out")]
    NoQuota,
    /// Only B2 is where everybody knows.
    #[error("buckets.api-url is missing: for \"s3\" it is the address of Garage's admin API")]
    NoApi,
    /// Gateways would not know where to go.
    #[error("buckets.s3-endpoint is missing: the address that gateways find the S3 API at")]
    NoEndpoint,
    /// Credentials for all buckets go over it.
    #[error("buckets.api-url must begin with https://, unless it is on the loopback")]
    InTheClear,
    /// Too little of a fingerprint would be left.
    #[error("buckets.valve-infra-server-name is longer than {MAX_SERVER_NAME} characters")]
    LongServerName,
    /// Nothing could be answered in no time.
    #[error("buckets.timeout must be at least \"1s\"")]
    NoTime,
}

/// Letters, digits, `-`, `_` and `.`: what needs no quoting anywhere.
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

/// `"500MB"`, `"20GB"`, `"1TB"`, or with `KiB`, `MiB`, `GiB`, `TiB`.
struct Size(u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (count, unit) = text.split_at(digits);
        let unit = match unit.trim_start() {
            "MB" => Some(1_000_000),
            "GB" => Some(1_000_000_000),
            "TB" => Some(1_000_000_000_000),
            "KiB" => Some(1 << 10),
            "MiB" => Some(1 << 20),
            "GiB" => Some(1 << 30),
            "TiB" => Some(1_u64 << 40),
            _ => None,
        };
        let bytes =
            count.parse().ok().zip(unit).and_then(|(n, unit): (u64, _)| n.checked_mul(unit));
        bytes.filter(|bytes| *bytes > 0).map(Self).ok_or_else(|| {
            de::Error::custom(format!("{text:?} is no size: expected something like \"20GB\""))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(table: &str) -> Result<Buckets, String> {
        let text = format!("url = \"https://a\"\n[buckets]\n{table}\n");
        let config = super::super::Config::parse(&text);
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
            ("provider = \"b2\"\ntimeout = \"0s\"", "buckets.timeout"),
            ("provider = \"b2\"\nkey = \"secret\"", "unknown field `key`"),
            ("provider = \"gcs\"", "gcs"),
            (&format!("{s3}quota = \"many\""), "no size"),
            (&format!("{s3}quota = \"0GB\""), "no size"),
            (&format!("{s3}s3-region = \"a b\""), "a b"),
            ("provider = \"b2\"\napi-url = \"https://a/$x\"", "do not belong"),
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
