//! Files by URL and SHA-256, for those that are too large for a folder. Pure.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;
use serde::Deserialize;
use toml::Spanned;

use crate::fleet::BlobId;
use crate::foreign::Foreign;

/// A file that is fetched and verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// Its address.
    pub url: DownloadUrl,
    /// SHA-256 of its bytes.
    pub sha256: BlobId,
}

/// A file by URL as TOML has it, before its values are looked at.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawDownload {
    pub url: Spanned<String>,
    pub sha256: Spanned<String>,
}

/// An `https` URL without user name. `http` only to this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownloadUrl(Url);

impl DownloadUrl {
    pub fn url(&self) -> &Url {
        &self.0
    }
}

/// Says whether a request may go there: TLS, or this machine.
pub fn is_private(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host == "localhost"
        || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    match url.scheme() {
        "https" => true,
        "http" => loopback,
        _ => false,
    }
}

impl FromStr for DownloadUrl {
    type Err = ParseDownloadUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shown = || Foreign::shorter(text, 200);
        let url: Url = text.parse().map_err(|_| ParseDownloadUrlError::NotOne(shown()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ParseDownloadUrlError::User);
        }
        match is_private(&url) && url.has_host() && text.len() <= 2048 {
            true => Ok(Self(url)),
            false => Err(ParseDownloadUrlError::NotHttps(shown())),
        }
    }
}

impl fmt::Display for DownloadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Nothing is fetched from there.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseDownloadUrlError {
    /// No URL.
    #[error("`{0}` is not a URL")]
    NotOne(Foreign),
    /// Anybody on the way can read and change it.
    #[error("`{0}` must begin with https:// (http:// only for this machine)")]
    NotHttps(Foreign),
    /// The text would be a secret.
    #[error("a URL must not hold a user name or password")]
    User,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_private_addresses_are_asked() {
        for good in [
            "https://example.org/a?x=1",
            "http://127.0.0.1:8080/a",
            "http://[::1]/a",
            "http://localhost/a",
        ] {
            assert_eq!(good.parse::<DownloadUrl>().unwrap().to_string(), good);
        }
        for bad in [
            "http://example.org/a",
            "ftp://example.org/a",
            "file:///etc/passwd",
            "http://127.0.0.1.example.org/",
            "https://a:b@example.org/",
            "https://a@example.org/",
            "vmlinuz",
            "",
        ] {
            assert!(bad.parse::<DownloadUrl>().is_err(), "{bad}");
        }
    }
}
