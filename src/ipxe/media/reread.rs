//! Reads a medium's settings back from its script, so that `iso verify` can render it again. Pure.

use std::net::Ipv4Addr;

use super::Cidr;
use super::Facts;
use super::FactsError;
use super::Media;
use super::StaticAddress;
use crate::config::Contact;
use crate::identity::pki::ServerName;

impl Media {
    /// Reads the settings from the lines of a script. The script may contain more than these
    /// settings produce; compare it with [`Media::render`] to find out.
    pub fn reread(script: &[u8]) -> Result<Self, FactsError> {
        let facts = Facts::read(script)?;
        let text = String::from_utf8_lossy(script);
        let value = |before: &str| {
            text.lines().find_map(|line| line.strip_prefix(before)?.split_whitespace().next())
        };
        let ip = |before: &str| value(before).and_then(|text| text.parse::<Ipv4Addr>().ok());
        let network = ip("set net${fg-nic}/ip ").zip(ip("set net${fg-nic}/netmask "));
        let address = network.and_then(|(address, netmask)| {
            let cidr: Cidr =
                format!("{address}/{}", netmask.to_bits().count_ones()).parse().ok()?;
            Some(StaticAddress::new(cidr, ip("set net${fg-nic}/gateway "), ip("set dns ")))
        });
        let ntp = value("ntp ").and_then(|host| host.parse::<ServerName>().ok());
        let contact = text.lines().find_map(|line| {
            line.strip_prefix("set fg-contact ")?.strip_suffix(" ||")?.parse::<Contact>().ok()
        });
        let debug = text.lines().any(|line| line == "shell ||");
        Ok(Self { facts, ntp, address, contact, debug })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::Fingerprint;

    prop_compose! {
        fn media()(
            ecdsa: bool,
            ca in prop::option::of(prop::collection::vec(any::<u8>(), 0..900)),
            ntp in prop::option::of("[a-z]{1,9}\\.example"),
            network in prop::option::of((any::<u32>(), 1u32..=32)),
            router in prop::option::of(any::<u32>()),
            dns in prop::option::of(any::<u32>()),
            contact in prop::option::of("[A-Za-z0-9+,. ()-]{0,40}[a-z]"),
            debug: bool,
        ) -> Media {
            let address = network.map(|(ip, len)| {
                let cidr = format!("{}/{len}", Ipv4Addr::from_bits(ip)).parse().unwrap();
                let ip = |bits: Option<u32>| bits.map(Ipv4Addr::from_bits);
                StaticAddress::new(cidr, ip(router), ip(dns))
            });
            let root = ca.as_ref().map_or(Fingerprint::from_bytes([7; 32]), |ca| {
                Fingerprint::of_der(ca)
            });
            let urls = vec!["https://boot.example.org".parse().unwrap()];
            let facts = Facts { root, ipxe: None, ecdsa, urls, ca };
            let ntp = ntp.map(|host| host.parse().unwrap());
            let contact = contact.map(|text| text.parse().unwrap());
            Media { facts, ntp, address, contact, debug }
        }
    }

    proptest! {
        /// The script contains every setting of its medium.
        #[test]
        fn what_is_read_again_renders_the_same(media in media()) {
            let script = media.render();
            prop_assert_eq!(Media::reread(&script).unwrap().render(), script);
        }

        #[test]
        fn survives_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Media::reread(&bytes);
        }
    }
}
