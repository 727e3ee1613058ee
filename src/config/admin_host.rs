//! Names of the admin listener besides those of the loopback. Pure.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;

use super::text::parsed;

const EXPECTED: &str =
    "the name of a host or an IP address, without a port, such as \"farmgate.lan\"";

/// A name that browsers ask the admin listener by, for instance that of a proxy in front of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminHost(Name);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    /// In lower case.
    Dns(String),
    Address(IpAddr),
}

impl AdminHost {
    /// Says whether this is the host of a request, which has no port any more.
    pub fn is(&self, host: &str) -> bool {
        match &self.0 {
            Name::Dns(name) => name.eq_ignore_ascii_case(host),
            Name::Address(address) => {
                let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
                inner.unwrap_or(host).parse() == Ok(*address)
            }
        }
    }
}

/// The text is no such name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot be used: expected {EXPECTED}")]
pub struct ParseAdminHostError(String);

impl FromStr for AdminHost {
    type Err = ParseAdminHostError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse() {
            return Ok(Self(Name::Address(address)));
        }
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // The last label of a name is no number: that would be an address, or none.
        let is_name =
            text.rsplit('.').next().is_some_and(|last| !last.chars().all(|c| c.is_ascii_digit()));
        match text.len() <= 253 && is_name && text.split('.').all(label) {
            true => Ok(Self(Name::Dns(text.to_ascii_lowercase()))),
            false => Err(ParseAdminHostError(text.to_owned())),
        }
    }
}

impl fmt::Display for AdminHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Name::Dns(name) => f.write_str(name),
            Name::Address(address) => address.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for AdminHost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, EXPECTED)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_host_is_that_host_and_no_other() {
        let named: AdminHost = "Farmgate.LAN".parse().unwrap();
        for same in ["farmgate.lan", "FARMGATE.lan"] {
            assert!(named.is(same), "{same}");
        }
        for other in ["", "lan", "x.farmgate.lan", "farmgate.lan.evil.example", "farmgate.lan."] {
            assert!(!named.is(other), "{other}");
        }
        let address: AdminHost = "2001:db8::7".parse().unwrap();
        assert!(address.is("[2001:db8:0::7]") && !address.is("[2001:db8::8]"));
        let address: AdminHost = "192.0.2.7".parse().unwrap();
        assert!(address.is("192.0.2.7") && !address.is("192.0.2.70"));
    }

    #[test]
    fn what_no_browser_sends_is_refused() {
        for bad in [
            "",
            ".",
            "*",
            "*.lan",
            "a..b",
            "farmgate.lan:443",
            "https://farmgate.lan",
            "a/b",
            "a b",
            "-a",
            "a-",
            "192.0.2",
            "[::1",
            "a@b",
            "\u{e9}.lan",
            "farmgate.lan.",
        ] {
            assert!(bad.parse::<AdminHost>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_can_be_named_is_itself(text in "[a-zA-Z0-9.:_-]{0,20}") {
            if let Ok(host) = text.parse::<AdminHost>() {
                prop_assert!(host.is(&text));
                prop_assert_eq!(host.to_string().parse::<AdminHost>(), Ok(host));
            }
        }
    }
}
