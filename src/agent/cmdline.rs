//! The kernel's command line, as far as the agent is concerned. Pure.

use std::net::IpAddr;
use std::net::Ipv4Addr;

/// The words for the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// Fixed addresses; interfaces without one ask a DHCP server.
    pub addresses: Vec<Address>,
    /// `farmgate.modules=a,b`: modules to load although no device asked for them.
    pub modules: Vec<String>,
    /// Words that were meant for the agent and that it does not understand.
    pub unknown: Vec<String>,
}

/// `ip=CLIENT::GATEWAY:NETMASK:HOSTNAME:DEVICE:off:DNS:DNS`, the kernel's own form
/// (<https://docs.kernel.org/admin-guide/nfs/nfsroot.html>).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub address: Ipv4Addr,
    pub prefix: u32,
    pub gateway: Option<Ipv4Addr>,
    /// The first interface where it is absent.
    pub device: Option<String>,
    pub dns: Vec<IpAddr>,
}

impl CommandLine {
    pub fn parse(line: &str) -> Self {
        let mut found = Self::default();
        for word in line.split_whitespace() {
            let Some((name, value)) = word.split_once('=') else { continue };
            match name {
                "ip" | "farmgate.ip" => match address(value) {
                    Some(Some(address)) => found.addresses.push(address),
                    Some(None) => {}
                    None => found.unknown.push(word.to_owned()),
                },
                "farmgate.modules" => {
                    let names = value.split(',').filter(|name| is_name(name));
                    found.modules.extend(names.map(str::to_owned));
                }
                _ if name.starts_with("farmgate.") && !for_others(name) => {
                    found.unknown.push(word.to_owned());
                }
                _ => {}
            }
        }
        found
    }
}

/// Options of systemd/farmgate-ack and of the tests.
fn for_others(name: &str) -> bool {
    ["farmgate.ack", "farmgate.ca", "farmgate.gateway", "farmgate.generation"].contains(&name)
}

/// A name that is no option and no path.
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !name.is_empty() && !name.starts_with('-') && name.bytes().all(allowed)
}

/// `Some(None)` if it asks for DHCP, which is the default.
fn address(value: &str) -> Option<Option<Address>> {
    if ["dhcp", "on", "any", "both"].contains(&value) {
        return Some(None);
    }
    let fields: Vec<&str> = value.split(':').collect();
    let field = |at: usize| fields.get(at).copied().filter(|field| !field.is_empty());
    if field(0).is_none() && matches!(field(6), Some("dhcp" | "on" | "any" | "both")) {
        return Some(None);
    }
    let gateway = match field(2) {
        Some(gateway) => Some(gateway.parse().ok()?),
        None => None,
    };
    let device = match field(5) {
        Some(device) if is_name(device) => Some(device.to_owned()),
        Some(_) => return None,
        None => None,
    };
    let dns = [field(7), field(8)].into_iter().flatten();
    let dns = dns.map(|address| address.parse().ok()).collect::<Option<_>>()?;
    let prefix = prefix(field(3)?.parse().ok()?)?;
    let address = field(0)?.parse().ok()?;
    Some(Some(Address { address, prefix, gateway, device, dns }))
}

/// 24 for 255.255.255.0.
fn prefix(mask: Ipv4Addr) -> Option<u32> {
    let bits = mask.to_bits();
    (bits.leading_ones() + bits.trailing_zeros() >= u32::BITS).then(|| bits.leading_ones())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_fixed_address_is_read() {
        let line = CommandLine::parse(
            "quiet console=ttyS0 ip=10.0.2.9::10.0.2.2:255.255.255.0:lab-1:eth1:off:10.0.2.3 x",
        );
        let address = Address {
            address: Ipv4Addr::new(10, 0, 2, 9),
            prefix: 24,
            gateway: Some(Ipv4Addr::new(10, 0, 2, 2)),
            device: Some("eth1".to_owned()),
            dns: vec![IpAddr::from([10, 0, 2, 3])],
        };
        assert_eq!(line, CommandLine { addresses: vec![address], ..CommandLine::default() });
        let short = CommandLine::parse("ip=10.0.2.9:::255.255.0.0");
        assert_eq!((short.addresses[0].prefix, &short.addresses[0].device), (16, &None));
    }

    #[test]
    fn dhcp_is_the_default() {
        for line in ["ip=dhcp", "ip=:::::eth0:dhcp", "", "ip=on"] {
            assert_eq!(CommandLine::parse(line), CommandLine::default(), "{line}");
        }
    }

    #[test]
    fn words_that_are_not_understood_are_named() {
        for word in [
            "ip=10.0.2.9",
            "ip=10.0.2.9:::255.0.255.0",
            "ip=10.0.2.9::x:255.0.0.0",
            "ip=10.0.2.9:::255.0.0.0::../e",
            "farmgate.modlues=x",
        ] {
            assert_eq!(CommandLine::parse(word).unknown, [word], "{word}");
        }
        let others = CommandLine::parse("farmgate.gateway=lab-1 farmgate.ack=https://x");
        assert_eq!(others, CommandLine::default());
    }

    #[test]
    fn modules_are_names() {
        let line = CommandLine::parse("farmgate.modules=dm_flakey,-r,../x,,e1000e");
        assert_eq!(line.modules, ["dm_flakey", "e1000e"]);
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "\\PC*", ip in "[0-9a-z:.]{0,60}") {
            CommandLine::parse(&line);
            CommandLine::parse(&format!("ip={ip}"));
        }
    }
}
