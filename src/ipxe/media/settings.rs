//! Values that end up in a line of the media's script. Whatever could break
//! out of the line cannot be made into one of these types.

use std::fmt;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// Address of a boot host: `https://host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootUrl(String);

impl FromStr for BootUrl {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseError::Url(text.to_owned());
        let rest = text.strip_prefix("https://").ok_or_else(error)?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']').ok_or_else(error)?;
                address.parse::<Ipv6Addr>().map_err(|_| error())?;
                (None, port.strip_prefix(':').or(port.is_empty().then_some("443")))
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (Some(host), Some(port)),
                None => (Some(authority), Some("443")),
            },
        };
        if host.is_some_and(|host| !is_host(host)) {
            return Err(error());
        }
        let port = port.filter(|port| port.bytes().all(|b| b.is_ascii_digit()));
        match port.and_then(|port| port.parse::<u16>().ok()) {
            None | Some(0) => Err(error()),
            Some(_) => Ok(Self(format!("https://{authority}"))),
        }
    }
}

impl fmt::Display for BootUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A time server: a name or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NtpHost(String);

impl FromStr for NtpHost {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_host(text) || text.parse::<Ipv6Addr>().is_ok() {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseError::Host(text.to_owned()))
        }
    }
}

impl fmt::Display for NtpHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Letters, digits, dots and inner hyphens, as in a DNS name or IPv4 address.
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// An IPv4 address with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: Ipv4Addr,
    prefix: u8,
}

impl FromStr for Cidr {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseError::Cidr(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(error)?;
        let address = address.parse().map_err(|_| error())?;
        let prefix = prefix.parse().ok().filter(|len| (1..=32).contains(len)).ok_or_else(error)?;
        Ok(Self { address, prefix })
    }
}

impl Cidr {
    fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::MAX << (32 - u32::from(self.prefix)))
    }
}

/// A fixed address for a network without DHCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticAddress {
    address: Cidr,
    router: Option<Ipv4Addr>,
    pub(super) dns: Option<Ipv4Addr>,
}

impl StaticAddress {
    /// Puts the parts together.
    pub fn new(address: Cidr, router: Option<Ipv4Addr>, dns: Option<Ipv4Addr>) -> Self {
        Self { address, router, dns }
    }

    /// iPXE's settings of a network card and their values.
    pub(super) fn settings(&self) -> impl Iterator<Item = (&'static str, Ipv4Addr)> {
        [
            Some(("ip", self.address.address)),
            Some(("netmask", self.address.netmask())),
            self.router.map(|router| ("gateway", router)),
        ]
        .into_iter()
        .flatten()
    }
}

/// The text is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Not the address of a boot host.
    #[error("{0:?} cannot be a boot address: https://HOST or https://HOST:PORT is expected")]
    Url(String),
    /// Not a host.
    #[error("{0:?} is no host name or address")]
    Host(String),
    /// Not an address with its prefix length.
    #[error("{0:?} is no address: one like 192.0.2.10/24 is expected")]
    Cidr(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_cannot_break_out_of_a_line() {
        for (good, shown) in [
            ("https://boot.example.org", "https://boot.example.org"),
            ("https://boot.example.org/", "https://boot.example.org"),
            ("https://10.0.2.2:8443", "https://10.0.2.2:8443"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]"),
            ("https://[::1]:1", "https://[::1]:1"),
        ] {
            assert_eq!(good.parse::<BootUrl>().unwrap().to_string(), shown);
        }
        for bad in [
            "",
            "http://boot.example.org",
            "HTTPS://boot.example.org",
            "https://",
            "https:///",
            "https://a b",
            "https://a\nexit",
            "https://a||exit",
            "https://${x}",
            "https://a/b",
            "https://a?b",
            "https://user@a",
            "https://a:",
            "https://a:0",
            "https://a:+1",
            "https://a:65536",
            "https://[::1",
            "https://[::g]",
            "https://[::1]x",
            "https://-a",
            "https://a..b",
            "https://ä",
            "https://a#",
            "https://a\0",
        ] {
            assert!(bad.parse::<BootUrl>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn hosts_and_networks() {
        for good in ["pool.ntp.org", "192.0.2.1", "2001:db8::1"] {
            assert_eq!(good.parse::<NtpHost>().unwrap().to_string(), good);
        }
        for bad in ["", "a b", "-a", "--help", "a;b", "$x", "a||"] {
            assert!(bad.parse::<NtpHost>().is_err(), "{bad:?} was taken");
        }
        let netmask = |text: &str| text.parse::<Cidr>().unwrap().netmask().to_string();
        assert_eq!(netmask("192.0.2.10/24"), "255.255.255.0");
        assert_eq!(netmask("192.0.2.10/32"), "255.255.255.255");
        assert_eq!(netmask("10.0.0.1/1"), "128.0.0.0");
        for bad in ["192.0.2.10", "192.0.2.10/0", "192.0.2.10/33", "::1/64", "a/24", "/24"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad:?} was taken");
        }
    }
}
