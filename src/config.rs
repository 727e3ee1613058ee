//! `STATE/farmgate.toml`. Unknown keys are errors that name key and line.

mod buckets;
mod rewrite;
mod store;

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http::Uri;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::de;

pub use buckets::ApiUrl;
pub use buckets::Buckets;
pub use buckets::BucketsError;
pub use buckets::ParseApiUrlError;
pub use buckets::Provider;
pub use store::Endpoint;
pub use store::ParseStoreUrlError;
pub use store::Store;
pub use store::StoreUrl;

use crate::identity::pki::KeyType;
use crate::identity::pki::ServerName;

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
/// ([`crate::store::history::REMEMBERED`]).
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

/// Where the server listens. At least one of `tls` and `unix` must be open, unless
/// systemd hands a socket over.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Listen {
    /// Own mutual TLS (rustls). Leave out behind nginx.
    pub tls: Option<SocketAddr>,
    /// Unix socket that nginx alone can open.
    pub unix: Option<PathBuf>,
    /// Group that may open `unix`: the one that nginx runs as.
    pub unix_group: Option<String>,
    /// Behind nginx: the internal location (`X-Accel-Redirect`) under which
    /// nginx serves `STATE/store/blobs`. Without it, the server sends assets itself.
    pub accel: Option<AccelPrefix>,
    /// Behind nginx: believe only a certificate that nginx also names in a header which no
    /// client can send (`X_Farmgate_Proxy`: nginx drops headers of clients that have an
    /// underscore in their name). Should lines of its configuration get lost, nobody is
    /// let in as somebody else, whatever a client sends.
    pub proxy_mark: bool,
    /// For operators and monitoring, never for gateways: an address of the loopback,
    /// or a Unix socket.
    pub admin: Option<AdminAddress>,
    /// How long running downloads may take to finish after SIGTERM.
    #[serde(deserialize_with = "duration")]
    pub drain: Duration,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            tls: None,
            unix: None,
            unix_group: None,
            accel: None,
            proxy_mark: false,
            admin: None,
            drain: Duration::from_secs(300),
        }
    }
}

impl Listen {
    /// Whether a server with these settings would listen just where one with `other` does.
    pub fn same_doors(&self, other: &Self) -> bool {
        (self.tls, &self.unix, &self.unix_group, &self.admin)
            == (other.tls, &other.unix, &other.unix_group, &other.admin)
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
}

impl Config {
    /// Reads the configuration from TOML text.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}

/// Address of a boot host: `https://`, a host, perhaps a port, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootUrl {
    text: String,
    host: ServerName,
    port: u16,
}

impl BootUrl {
    /// The URL without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host, as the server's certificate must name it.
    pub fn host(&self) -> &ServerName {
        &self.host
    }

    /// The TCP port: 443 unless the URL names another.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for BootUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for BootUrl {
    type Err = ParseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason| ParseUrlError { url: text.to_owned(), reason };
        let uri: Uri = text.parse().map_err(|_| error("it is not a URL"))?;
        if uri.scheme_str() != Some("https") {
            return Err(error("it must begin with https://"));
        }
        let authority = uri.authority().ok_or_else(|| error("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(error("it must not hold a user name"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(error("nothing may follow the host and port"));
        }
        let host = authority.host().parse().map_err(|_| error("its host is not a name"))?;
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => 443,
            Some(rest) => rest
                .strip_prefix(':')
                .and_then(|port| port.parse().ok())
                .filter(|port| *port != 0)
                .ok_or_else(|| error("its port is none"))?,
            None => return Err(error("its host is not a name")),
        };
        Ok(Self { text: format!("https://{authority}"), host, port })
    }
}

impl<'de> Deserialize<'de> for BootUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for BootUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// The text is not the URL of a boot host.
#[derive(Debug, thiserror::Error)]
#[error("{url:?} cannot be the boot host's URL: {reason} (example: https://boot.example.org)")]
pub struct ParseUrlError {
    url: String,
    reason: &'static str,
}

/// An internal nginx location: `/name`, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccelPrefix(String);

impl AccelPrefix {
    /// The location.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for AccelPrefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        match text.strip_prefix('/') {
            Some(name) if !name.is_empty() && name.chars().all(plain) => Ok(Self(text)),
            _ => Err(de::Error::custom(format!(
                "{text:?} is no internal location: expected something like \"/farmgate-blobs\""
            ))),
        }
    }
}

/// Where operators ask: nobody who is not on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// An address of the loopback.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl<'de> Deserialize<'de> for AdminAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.starts_with('/') {
            return Ok(Self::Unix(text.into()));
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Self::Tcp(address)),
            _ => Err(de::Error::custom(format!(
                "{text:?} is neither on the loopback nor a Unix socket: \
                 expected something like \"127.0.0.1:9180\" or \"/run/farmgate-admin.sock\""
            ))),
        }
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
            "#,
        )
        .unwrap();
        assert_eq!(config.url.as_str(), "https://boot.example.org:8443");
        assert_eq!(config.url.port(), 8443);
        assert_eq!(config.listen.drain, Duration::from_secs(120));
        assert_eq!(config.media.fallback_urls[0].host().to_string(), "2001:db8::1");
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
    fn nobody_but_this_machine_reaches_the_admin_listener() {
        let parse = |address: &str| {
            Config::parse(&format!("url = \"https://a\"\n[listen]\nadmin = \"{address}\"\n"))
        };
        for good in ["127.0.0.1:9180", "[::1]:9180", "/run/farmgate-admin.sock"] {
            assert!(parse(good).unwrap().listen.admin.is_some());
        }
        for bad in ["0.0.0.0:9180", "192.0.2.1:9180", "[::]:9180", "9180", "localhost:1", ""] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains("loopback"), "{bad:?}: {error}");
        }
    }

    #[test]
    fn more_tries_than_are_remembered_would_never_end() {
        let parse = |tries: u32| {
            Config::parse(&format!("url = \"https://a\"\n[assessment]\ntries = {tries}\n"))
        };
        assert_eq!(parse(MOST_TRIES).unwrap().assessment.tries.get(), MOST_TRIES);
        assert!(parse(MOST_TRIES + 1).unwrap_err().to_string().contains("more than 64"));
        assert_eq!(MOST_TRIES as usize, crate::store::history::REMEMBERED);
    }

    #[test]
    fn refuses_urls_that_a_gateway_could_not_follow() {
        for bad in [
            "http://a",
            "a",
            "https://",
            "https://a/b",
            "https://a?b",
            "https://u@a",
            "https://a:",
            "https://a:99999",
            "https://a b",
            "https://-a",
            "https://a\nb",
            "ftp://a",
        ] {
            assert!(bad.parse::<BootUrl>().is_err(), "{bad:?} was taken");
        }
    }
}
