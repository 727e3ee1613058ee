use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use http::Uri;
use serde::Deserialize;
use serde::Deserializer;
use serde::de;

use super::url::port;

/// Address of an API: `https://` or `http://`, a host, perhaps a port and a path. It holds
/// nothing that iPXE's command line would read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiUrl {
    text: String,
    host: String,
    port: u16,
    tls: bool,
}

impl ApiUrl {
    /// The URL, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Host name or address, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is https.
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// The path that comes before all others, without a slash at its end.
    pub fn path(&self) -> &str {
        let rest = self.text.split_once("://").map_or("", |(_, rest)| rest);
        rest.find('/').map_or("", |at| &rest[at..])
    }

    /// Whether nobody between here and there can listen.
    pub fn is_private(&self) -> bool {
        let loopback = |ip: std::net::IpAddr| ip.is_loopback();
        self.tls || self.host == "localhost" || self.host.parse().is_ok_and(loopback)
    }
}

impl fmt::Display for ApiUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for ApiUrl {
    type Err = ParseApiUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let because = |reason: Cow<'static, str>| ParseApiUrlError { url: text.to_owned(), reason };
        let error = |reason: &'static str| because(reason.into());
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]".contains(c);
        if !text.chars().all(plain) {
            return Err(error("it holds characters that do not belong there"));
        }
        let text = text.trim_end_matches('/');
        let uri: Uri = text.parse().map_err(|_| error("it is not a URL"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(error("it must begin with https://")),
        };
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| error("it names no host"))?;
        let named = uri.authority().map(port).transpose();
        let named = named.map_err(|reason| because(reason.into()))?.flatten();
        let port = named.unwrap_or(if tls { 443 } else { 80 });
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { text: text.to_owned(), host, port, tls })
    }
}

impl<'de> Deserialize<'de> for ApiUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The text is not the address of an API.
#[derive(Debug, thiserror::Error)]
#[error("{url:?} cannot be used: {reason} (example: https://garage.example.org:3903)")]
pub struct ParseApiUrlError {
    url: String,
    reason: Cow<'static, str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A port that is none was taken for 443.
    #[test]
    fn a_port_is_one_or_refused() {
        for bad in ["https://a:99999", "https://a:0", "https://a:", "http://[::1]:65536/x"] {
            let error = bad.parse::<ApiUrl>().map(|url| url.port()).unwrap_err().to_string();
            assert!(error.contains("is not a port") || error.contains("is not a URL"), "{error}");
        }
        let port = |url: &str| url.parse::<ApiUrl>().unwrap().port();
        assert_eq!(port("https://a:65535/x"), 65535);
        assert_eq!(port("http://[::1]:3903"), 3903);
        assert_eq!((port("https://a"), port("http://[::1]/x")), (443, 80));
    }
}
