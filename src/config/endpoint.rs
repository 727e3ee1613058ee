//! `[store] endpoint`: the address of an S3 server. Pure.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;

use super::text::parsed;
use super::url::HttpUrl;
use super::url::ParseUrlError;
use super::url::Reason;

const EXAMPLE: &str = "https://s3.example.org";

/// Address of the store's S3 server. Without TLS it must be on this machine: everybody on the
/// network could read the store otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(HttpUrl);

impl Deref for Endpoint {
    type Target = HttpUrl;

    fn deref(&self) -> &HttpUrl {
        &self.0
    }
}

impl FromStr for Endpoint {
    type Err = ParseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || -> Result<Self, Reason> {
            let url = HttpUrl::parse(text)?;
            if !url.is_private() {
                return Err("it must begin with https:// (http:// only on this machine)".into());
            }
            Ok(Self(url))
        };
        parse().map_err(|reason| ParseUrlError {
            url: text.to_owned(),
            purpose: "the address of a store",
            reason,
            example: EXAMPLE,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, "a URL such as \"https://s3.example.org\"")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_tls_it_is_on_this_machine() {
        for bad in [
            "http://s3.example.org",
            "s3.example.org",
            "https://",
            "ftp://127.0.0.1",
            "https://a:99999",
        ] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad:?} was accepted");
        }
        for good in ["http://127.0.0.1:3900", "http://[::1]:3900", "http://localhost:1"] {
            assert!(!good.parse::<Endpoint>().unwrap().tls(), "{good:?} was refused");
        }
        assert!("https://s3.example.org/".parse::<Endpoint>().unwrap().tls());
        assert!(EXAMPLE.parse::<Endpoint>().is_ok());
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(text in "https?://(localhost|a)(:[0-9]{1,5})?[/a%]{0,5}") {
            if let Ok(url) = text.parse::<Endpoint>() {
                prop_assert_eq!(url.to_string().parse::<Endpoint>().unwrap(), url);
            }
        }
    }
}
