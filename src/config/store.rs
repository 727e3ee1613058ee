//! `[store]`: what several boot hosts share. Pure.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::endpoint::Endpoint;
use super::period;
use super::size;
use super::store_url::StoreUrl;

/// The store that several boot hosts share.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Store {
    /// The address of the store. Without it, this boot host is alone.
    pub url: Option<StoreUrl>,
    /// Address of the S3 server, if it is not Amazon's.
    pub endpoint: Option<Endpoint>,
    /// Its region.
    pub region: String,
    /// File with the access key, mode 0600. Without it, systemd's credential `store`.
    pub credentials: Option<PathBuf>,
    /// The time between two exchanges of events and records with the store.
    #[serde(deserialize_with = "period::deserialize_positive")]
    pub interval: Duration,
    /// Longest wait for one answer.
    #[serde(deserialize_with = "period::deserialize_positive")]
    pub timeout: Duration,
    /// Bytes of files that the local cache keeps. Files of generations that gateways may boot
    /// next are kept beyond that. Without it, all files are kept.
    #[serde(deserialize_with = "size::deserialize")]
    pub cache_size: Option<u64>,
    /// The number of newest generations of each gateway whose files are kept, besides those that
    /// are needed. Without it, all are kept.
    pub keep: Option<NonZeroU32>,
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
            keep: None,
        }
    }
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
            keep = 5
            "#,
        )
        .unwrap();
        assert_eq!(store.url.unwrap().to_string(), "s3://farm/hosts");
        assert_eq!(store.endpoint.unwrap().as_str(), "https://s3.example.org");
        assert_eq!(store.cache_size, Some(20_000_000_000));
        assert_eq!(store.keep.map(NonZeroU32::get), Some(5));
        assert!(toml::from_str::<Store>("keep = 0").is_err());
        assert!(toml::from_str::<Store>("key = 'x'").is_err());
    }

    #[test]
    fn sizes_and_durations_have_the_grammar_of_all_keys() {
        let parse = |text: &str| toml::from_str::<Store>(text).map_err(|error| error.to_string());
        for (written, bytes) in [("400k", 400_000), ("20GiB", 20 << 30), ("50 GB", 50_000_000_000)]
        {
            let store = parse(&format!("cache-size = {written:?}")).unwrap();
            assert_eq!(store.cache_size, Some(bytes), "{written}");
        }
        for bad in ["20", "G", "20g", "", "99999999999T"] {
            assert!(parse(&format!("cache-size = {bad:?}")).is_err(), "{bad:?} was accepted");
        }
        assert_eq!(parse("interval = \"1d\"").unwrap().interval, Duration::from_secs(86_400));
        assert!(parse("interval = \"0m\"").unwrap_err().contains("at least \"1s\""));
    }
}
