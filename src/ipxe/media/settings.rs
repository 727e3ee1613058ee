//! Settings that are written into lines of the media's script. These types cannot hold text that
//! could break out of its line. Pure.

use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 address and the prefix length of its network.
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
    pub fn new(address: Cidr, router: Option<Ipv4Addr>, dns: Option<Ipv4Addr>) -> Self {
        Self { address, router, dns }
    }

    /// iPXE's network card settings and their values.
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

/// Why text is not a setting.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    #[error("{0:?} is not an address: one like 192.0.2.10/24 is expected")]
    Cidr(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_a_netmask() {
        let netmask = |text: &str| text.parse::<Cidr>().unwrap().netmask().to_string();
        assert_eq!(netmask("192.0.2.10/24"), "255.255.255.0");
        assert_eq!(netmask("192.0.2.10/32"), "255.255.255.255");
        assert_eq!(netmask("10.0.0.1/1"), "128.0.0.0");
        for bad in ["192.0.2.10", "192.0.2.10/0", "192.0.2.10/33", "::1/64", "a/24", "/24"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad:?} was taken");
        }
    }
}
