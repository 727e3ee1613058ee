//! The boot script as a gateway gets it: a prelude of settings, then what the
//! operator wrote, byte for byte.

use crate::identity::Fingerprint;
use crate::identity::GatewayName;

/// What the prelude tells the operator's script.
pub(super) struct Prelude<'a> {
    pub(super) gateway: &'a GatewayName,
    pub(super) fingerprint: &'a Fingerprint,
    pub(super) generation: u64,
    pub(super) ack_url: Option<String>,
    pub(super) secrets_url: Option<String>,
}

impl Prelude<'_> {
    /// Puts the prelude before `script`, whose first line is a comment from here on.
    ///
    /// No value needs quoting: names, hex digits, numbers and URLs of tokens hold
    /// nothing that iPXE's command line would read (`src/core/exec.c`). No line can
    /// end the script. iPXE has a setting `gateway` of its own, the router's
    /// address (`src/net/ipv4.c`): only with a type does it take a name, and only
    /// `${gateway:string}` gives it back; `gateway_name` needs no such care.
    pub(super) fn before(&self, script: &[u8]) -> Vec<u8> {
        let Self { gateway, fingerprint, generation, ack_url, secrets_url } = self;
        let mut prelude = format!(
            "#!ipxe\n\
             set gateway:string {gateway} ||\n\
             set gateway_name {gateway} ||\n\
             set fingerprint {fingerprint} ||\n\
             set client_cert_fingerprint {fingerprint} ||\n\
             set generation {generation} ||\n"
        );
        for (name, url) in [("ack_url", ack_url), ("secrets_url", secrets_url)] {
            if let Some(url) = url {
                prelude += &format!("set {name} {url} ||\n");
            }
        }
        let mut text = prelude.into_bytes();
        text.extend_from_slice(script);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_operators_bytes_as_they_are() {
        let script = b"#!ipxe\r\nkernel vmlinuz x=$y ${z}\n\xff\0";
        let prelude = Prelude {
            gateway: &"lab-1".parse().unwrap(),
            fingerprint: &Fingerprint::from_bytes([0xab; 32]),
            generation: 7,
            ack_url: Some("https://a/boot/ack/x".to_owned()),
            secrets_url: None,
        };
        let text = prelude.before(script);
        assert!(text.starts_with(b"#!ipxe\nset gateway:string lab-1 ||\n"));
        assert!(
            text.ends_with(&[&b"\nset ack_url https://a/boot/ack/x ||\n"[..], script].concat())
        );
    }
}
