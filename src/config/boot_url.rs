//! `url`, `public-url` and `[media] fallback-urls`: addresses of boot hosts. Pure.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;

use super::text::parsed;
use super::url::HttpUrl;
use super::url::ParseUrlError;
use super::url::Reason;
use crate::identity::pki::ServerName;

const EXAMPLE: &str = "https://boot.example.org";

/// Address of a boot host: `https://`, a host, perhaps a port, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootUrl {
    url: HttpUrl,
    host: ServerName,
}

impl BootUrl {
    /// The URL, without a slash at its end.
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// The host, as the server's certificate must name it.
    pub fn host(&self) -> &ServerName {
        &self.host
    }

    /// TCP port: 443 unless the URL names another.
    pub fn port(&self) -> u16 {
        self.url.port()
    }
}

impl FromStr for BootUrl {
    type Err = ParseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || -> Result<Self, Reason> {
            let url = HttpUrl::parse(text)?;
            if !url.tls() {
                return Err("it must begin with https://".into());
            }
            if !url.path().is_empty() {
                return Err("nothing may follow the host and port".into());
            }
            let host = url.host().parse().map_err(|_| "its host is not a name")?;
            Ok(Self { url, host })
        };
        parse().map_err(|reason| ParseUrlError {
            url: text.to_owned(),
            purpose: "the URL of a boot host",
            reason,
            example: EXAMPLE,
        })
    }
}

impl fmt::Display for BootUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

impl<'de> Deserialize<'de> for BootUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, "a URL such as \"https://boot.example.org\"")
    }
}

impl Serialize for BootUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
            assert!(bad.parse::<BootUrl>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn says_what_is_wrong_and_how_it_should_look() {
        let error = "https://a:99999".parse::<BootUrl>().unwrap_err().to_string();
        assert_eq!(
            error,
            "\"https://a:99999\" cannot be the URL of a boot host: \"99999\" is not a port \
             (example: https://boot.example.org)"
        );
        assert!(EXAMPLE.parse::<BootUrl>().is_ok());
        assert_eq!("https://a:65535/".parse::<BootUrl>().unwrap().port(), 65535);
        assert_eq!("https://[2001:db8::1]:8443".parse::<BootUrl>().unwrap().port(), 8443);
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(text in "https://[a-zA-Z0-9.-]{1,12}(:[0-9]{1,5})?/?") {
            if let Ok(url) = text.parse::<BootUrl>() {
                prop_assert_eq!(url.to_string().parse::<BootUrl>().unwrap(), url);
            }
        }
    }
}
