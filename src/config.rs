//! `STATE/farmgate.toml`. Unknown keys are errors that name key and line.

mod api_url;
mod buckets;
mod contact;
mod listen;
mod rewrite;
mod store;
mod url;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::Deserializer;
use serde::de;

pub use api_url::ApiUrl;
pub use api_url::ParseApiUrlError;
pub use buckets::Buckets;
pub use buckets::BucketsError;
pub use buckets::Provider;
pub use contact::Contact;
pub use contact::ParseContactError;
pub use listen::AccelPrefix;
pub use listen::AdminAddress;
pub use listen::Listen;
pub use store::Endpoint;
pub use store::ParseStoreUrlError;
pub use store::Store;
pub use store::StoreUrl;
pub use url::BootUrl;
pub use url::ParseUrlError;

use crate::identity::pki::KeyType;

/// The configuration of one boot host.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Where gateways find this boot host.
    pub url: BootUrl,
    /// Where systems that have booted find it, if they do not know the fleet's CA:
    /// a name with a public certificate, for what needs no client certificate.
    pub public_url: Option<BootUrl>,
    /// Kind of keys for new certificates.
    #[serde(default)]
    pub key_type: KeyType,
    /// Where the server listens.
    #[serde(default)]
    pub listen: Listen,
    /// What goes on the boot media besides `url`.
    #[serde(default)]
    pub media: Media,
    /// How new generations are tried.
    #[serde(default)]
    pub assessment: Assessment,
    /// How secrets are handed out.
    #[serde(default)]
    pub secrets: Secrets,
    /// Where each gateway's bucket comes from.
    #[serde(default)]
    pub buckets: Buckets,
    /// What several boot hosts share.
    #[serde(default)]
    pub store: Store,
}

/// How secrets are handed out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Secrets {
    /// How long after its boot script a gateway can read its secrets.
    #[serde(deserialize_with = "duration")]
    pub ttl: Duration,
    /// How often.
    pub max_reads: NonZeroU32,
    /// Folder of templates outside of what is published: one file per gateway, named
    /// like it.
    pub dir: Option<PathBuf>,
}

impl Default for Secrets {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(60), max_reads: NonZeroU32::MIN, dir: None }
    }
}

/// Most boots that a new generation can get: more are not remembered
/// ([`crate::fleet::REMEMBERED`]).
pub const MOST_TRIES: u32 = 64;

/// How new generations are tried.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Assessment {
    /// Boots that a new generation gets, at most [`MOST_TRIES`]. If none of them is
    /// acknowledged, the last good generation is served again.
    #[serde(deserialize_with = "tries")]
    pub tries: NonZeroU32,
}

impl Default for Assessment {
    fn default() -> Self {
        Self { tries: NonZeroU32::MIN.saturating_add(2) }
    }
}

/// What goes on the boot media besides the URL.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Media {
    /// Tried in turn when `url` does not answer.
    pub fallback_urls: Vec<BootUrl>,
    /// Time server that a gateway asks before its first TLS connection. The
    /// media do without when left out: certificates are made to be valid for a
    /// clock that was reset to the distant past.
    pub ntp: Option<String>,
    /// Whom the screen of a gateway that does not boot names: a telephone number, a chat room,
    /// an address.
    pub contact: Option<Contact>,
}

impl Config {
    /// Reads the configuration from TOML text.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}

fn tries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NonZeroU32, D::Error> {
    let tries = NonZeroU32::deserialize(deserializer)?;
    if tries.get() > MOST_TRIES {
        return Err(de::Error::custom(format!("{tries} tries are more than {MOST_TRIES}")));
    }
    Ok(tries)
}

/// Reads `"90s"`, `"5m"`, `"1h"`.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = text.split_at_checked(text.len().saturating_sub(1)).and_then(|(count, unit)| {
        let count: u64 = count.parse().ok()?;
        let unit = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        Some(Duration::from_secs(count.checked_mul(unit)?))
    });
    parsed.ok_or_else(|| {
        de::Error::custom(format!("{text:?} is no duration: expected something like \"60s\""))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_key_and_has_defaults_for_all_but_the_url() {
        let config = Config::parse(
            r#"
            url = "https://boot.example.org:8443/"
            public-url = "https://boot-public.example.org"
            [listen]
            tls = "0.0.0.0:443"
            unix = "/run/farmgate.sock"
            accel = "/farmgate-blobs"
            admin = "127.0.0.1:9180"
            drain = "2m"
            [assessment]
            tries = 5
            [secrets]
            ttl = "1m"
            max-reads = 2
            dir = "/run/secrets"
            [media]
            fallback-urls = ["https://[2001:db8::1]"]
            ntp = "ntp.example.org"
            contact = "farm team, +49 30 1234, farm@example.org"
            "#,
        )
        .unwrap();
        assert_eq!(config.url.as_str(), "https://boot.example.org:8443");
        assert_eq!(config.url.port(), 8443);
        assert_eq!(config.listen.drain, Duration::from_secs(120));
        assert_eq!(config.media.fallback_urls[0].host().to_string(), "2001:db8::1");
        let contact = config.media.contact.unwrap();
        assert_eq!(contact.to_string(), "farm team, +49 30 1234, farm@example.org");
        let config = Config::parse(r#"url = "https://10.0.2.2""#).unwrap();
        assert_eq!((config.url.port(), config.listen.tls), (443, None));
        assert_eq!(config.assessment.tries.get(), 3);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = Config::parse("url = \"https://a\"\n[listen]\ntsl = \"x\"\n").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("tsl") && text.contains("line 3"), "{text}");
    }

    #[test]
    fn more_tries_than_are_remembered_would_never_end() {
        let parse = |tries: u32| {
            Config::parse(&format!("url = \"https://a\"\n[assessment]\ntries = {tries}\n"))
        };
        assert_eq!(parse(MOST_TRIES).unwrap().assessment.tries.get(), MOST_TRIES);
        assert!(parse(MOST_TRIES + 1).unwrap_err().to_string().contains("more than 64"));
        assert_eq!(MOST_TRIES as usize, crate::fleet::REMEMBERED);
    }
}
