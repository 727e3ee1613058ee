//! `[buckets] api-url` and `s3-endpoint`: addresses that also stand in boot scripts. Pure.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;

use super::text::parsed;
use super::url::HttpUrl;
use super::url::ParseUrlError;
use super::url::Reason;

const EXAMPLE: &str = "https://garage.example.org:3903";

/// Address of an API. It holds no character that has a meaning on iPXE's command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiUrl(HttpUrl);

impl Deref for ApiUrl {
    type Target = HttpUrl;

    fn deref(&self) -> &HttpUrl {
        &self.0
    }
}

impl FromStr for ApiUrl {
    type Err = ParseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || -> Result<Self, Reason> {
            let url = HttpUrl::parse(text)?;
            let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]".contains(c);
            match text.chars().find(|c| !plain(*c)) {
                Some(bad) => Err(format!("a boot script cannot hold {bad:?}").into()),
                None => Ok(Self(url)),
            }
        };
        parse().map_err(|reason| ParseUrlError {
            url: text.to_owned(),
            purpose: "the address of an API",
            reason,
            example: EXAMPLE,
        })
    }
}

impl fmt::Display for ApiUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for ApiUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, "a URL such as \"https://garage.example.org:3903\"")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_is_allowed_but_nothing_that_ipxe_would_read() {
        let url: ApiUrl = "http://[::1]:3903/admin/".parse().unwrap();
        assert_eq!((url.port(), url.path(), url.tls()), (3903, "/admin", false));
        assert!(EXAMPLE.parse::<ApiUrl>().is_ok());
        for bad in ["https://a/$x", "https://a/&b", "https://a/%20", "https://a/b;c", "s3://a"] {
            assert!(bad.parse::<ApiUrl>().is_err(), "{bad} was accepted");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(text in "https?://[a-z0-9.-]{1,9}(:[0-9]{1,5})?[/a~.]{0,5}") {
            if let Ok(url) = text.parse::<ApiUrl>() {
                prop_assert_eq!(url.to_string().parse::<ApiUrl>().unwrap(), url);
            }
        }
    }
}
