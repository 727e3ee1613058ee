//! `STATE/farmgate.toml`: parsing only, every value into a type that cannot hold a wrong one. Pure.
//!
//! Unknown keys are errors that name key and line. docs/configuration.md lists every key.

mod admin_host;
mod api_url;
mod boot_url;
mod buckets;
mod contact;
mod endpoint;
mod git_remote;
mod images;
mod listen;
mod period;
mod rewrite;
mod size;
mod store;
mod store_url;
mod sync;
mod text;
mod url;

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::Deserializer;
use serde::de;

pub use admin_host::AdminHost;
pub use admin_host::ParseAdminHostError;
pub use api_url::ApiUrl;
pub use boot_url::BootUrl;
pub use buckets::Buckets;
pub use buckets::BucketsError;
pub use buckets::Provider;
pub use contact::Contact;
pub use contact::ParseContactError;
pub use endpoint::Endpoint;
pub use git_remote::GitRemote;
pub use git_remote::ParseGitRemoteError;
pub use git_remote::Transport;
pub use images::Images;
pub use listen::AccelPrefix;
pub use listen::AdminAddress;
pub use listen::Listen;
pub use period::ParsePeriodError;
pub use period::Period;
pub use size::ParseSizeError;
pub use size::Size;
pub use store::Store;
pub use store_url::ParseStoreUrlError;
pub use store_url::StoreUrl;
pub use sync::Branch;
pub use sync::ParseNameError;
pub use sync::RepoFolder;
pub use sync::Sync;
pub use url::HttpUrl;
pub use url::ParseUrlError;

use crate::identity::pki::KeyType;
use crate::near::near_key;

/// The configuration of one boot host.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The address of this boot host for gateways.
    pub url: BootUrl,
    /// Its address for booted systems that do not know the fleet's CA: a name with a public
    /// certificate, for the requests that need no client certificate.
    pub public_url: Option<BootUrl>,
    /// Kind of keys for new certificates.
    #[serde(default)]
    pub key_type: KeyType,
    /// The addresses that the server listens on.
    #[serde(default)]
    pub listen: Listen,
    /// Settings of boot media besides `url`.
    #[serde(default)]
    pub media: Media,
    /// The assessment of new generations.
    #[serde(default)]
    pub assessment: Assessment,
    /// The terms on which secrets are handed out.
    #[serde(default)]
    pub secrets: Secrets,
    /// The source of each gateway's bucket.
    #[serde(default)]
    pub buckets: Buckets,
    /// Container images of generations.
    #[serde(default)]
    pub images: Images,
    /// The store that several boot hosts share.
    #[serde(default)]
    pub store: Store,
    /// The git repository that describes the fleet.
    #[serde(default)]
    pub sync: Sync,
}

/// The terms on which secrets are handed out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Secrets {
    /// The time after its boot script in which a gateway can read its secrets.
    #[serde(deserialize_with = "period::deserialize")]
    pub ttl: Duration,
    /// The number of times that it can read them.
    pub max_reads: NonZeroU32,
    /// Directory of templates that are not published: one file per gateway, with its name.
    pub dir: Option<PathBuf>,
}

impl Default for Secrets {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(60), max_reads: NonZeroU32::MIN, dir: None }
    }
}

/// Most tries that a new generation can get, because no more boots are remembered
/// ([`crate::fleet::REMEMBERED`]).
pub const MOST_TRIES: u32 = 64;

/// The assessment of new generations.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Assessment {
    /// Boots that a new generation gets, at most [`MOST_TRIES`]. If none is acknowledged, the last
    /// good generation is served again.
    #[serde(deserialize_with = "tries")]
    pub tries: NonZeroU32,
}

impl Default for Assessment {
    fn default() -> Self {
        Self { tries: NonZeroU32::MIN.saturating_add(2) }
    }
}

/// Settings of boot media besides the URL.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Media {
    /// Tried in this order when `url` does not answer.
    pub fallback_urls: Vec<BootUrl>,
    /// Time server that a gateway asks before its first TLS connection. Media need none:
    /// certificates are valid for a clock that was reset to the distant past.
    pub ntp: Option<String>,
    /// Shown on the screen of a gateway that does not boot: a telephone number, a chat room, an
    /// address.
    pub contact: Option<Contact>,
}

impl Config {
    /// Reads the configuration from TOML text.
    pub fn parse(text: &str) -> Result<Self, ParseConfigError> {
        toml::from_str(text).map_err(ParseConfigError)
    }
}

/// A configuration that cannot be used: the place, the reason, and the key or word that was
/// probably meant.
#[derive(Debug)]
pub struct ParseConfigError(toml::de::Error);

impl std::error::Error for ParseConfigError {}

impl fmt::Display for ParseConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_string().trim_end())?;
        match near_key(self.0.message()) {
            Some(near) => write!(f, "\ndid you mean `{near}`?"),
            None => Ok(()),
        }
    }
}

fn tries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NonZeroU32, D::Error> {
    let tries = NonZeroU32::deserialize(deserializer)?;
    if tries.get() > MOST_TRIES {
        let error = format!("{tries} is too many: expected 1 to {MOST_TRIES}");
        return Err(de::Error::custom(error));
    }
    Ok(tries)
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
        let error = |more: &str| {
            let text = format!("url = \"https://a\"\n[listen]\n{more}\n");
            Config::parse(&text).unwrap_err().to_string()
        };
        let text = error("tsl = \"x\"");
        assert!(text.contains("line 3") && text.contains("3 | tsl = \"x\"\n  | ^^^"), "{text}");
        assert!(text.ends_with("did you mean `tls`?"), "{text}");
        let text = error("windows = \"x\"");
        assert!(text.contains("unknown field `windows`") && !text.contains("mean"), "{text}");
    }

    #[test]
    fn a_mistyped_table_and_a_mistyped_word_name_the_near_one() {
        for (wrong, near) in
            [("[asessment]\ntries = 2", "assessment"), ("key-type = \"p265\"", "p256")]
        {
            let text = format!("url = \"https://a\"\n{wrong}\n");
            let error = Config::parse(&text).unwrap_err().to_string();
            assert!(error.ends_with(&format!("did you mean `{near}`?")), "{error}");
        }
    }

    #[test]
    fn more_tries_than_are_remembered_would_never_end() {
        let parse = |tries: u32| {
            Config::parse(&format!("url = \"https://a\"\n[assessment]\ntries = {tries}\n"))
        };
        assert_eq!(parse(MOST_TRIES).unwrap().assessment.tries.get(), MOST_TRIES);
        assert!(parse(MOST_TRIES + 1).unwrap_err().to_string().contains("1 to 64"));
        assert_eq!(MOST_TRIES as usize, crate::fleet::REMEMBERED);
    }
}
