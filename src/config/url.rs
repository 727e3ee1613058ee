use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use http::Uri;
use http::uri::Authority;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::de;

use crate::identity::pki::ServerName;

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
        let because = |reason: Cow<'static, str>| ParseUrlError { url: text.to_owned(), reason };
        let error = |reason: &'static str| because(reason.into());
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
        let port = port(authority).map_err(|reason| because(reason.into()))?.unwrap_or(443);
        Ok(Self { text: format!("https://{authority}"), host, port })
    }
}

/// The port after a host, where there is one. `http` itself takes 99999 for none.
pub(super) fn port(authority: &Authority) -> Result<Option<u16>, String> {
    let rest = authority.as_str().strip_prefix(authority.host()).unwrap_or(authority.as_str());
    if rest.is_empty() {
        return Ok(None);
    }
    let port = rest.trim_start_matches(':');
    let number = port.parse().ok().filter(|number| *number != 0);
    number.map(Some).ok_or_else(|| format!("{port:?} is not a port"))
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
    reason: Cow<'static, str>,
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// It said "its port is none".
    #[test]
    fn says_which_port_is_none() {
        for port in ["99999", "0", "65536", "x"] {
            let error = format!("https://a:{port}").parse::<BootUrl>().unwrap_err().to_string();
            let said = error.contains(&format!("{port:?} is not a port"));
            assert!(said || port == "x", "{error}");
        }
        assert_eq!("https://a:65535".parse::<BootUrl>().unwrap().port(), 65535);
        assert_eq!("https://[2001:db8::1]:8443".parse::<BootUrl>().unwrap().port(), 8443);
    }
}
