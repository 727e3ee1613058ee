//! The boot script as a gateway gets it: a prelude of settings, then the operator's script, byte
//! for byte.

use crate::bucket::Values;
use crate::config::BootUrl;
use crate::fleet::VariableName;
use crate::fleet::Variables;
use crate::fleet::check_value;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;

/// The settings for the operator's script.
pub(super) struct Prelude<'a> {
    pub(super) gateway: &'a GatewayName,
    pub(super) fingerprint: &'a Fingerprint,
    pub(super) generation: u64,
    /// The URL of this boot host for gateways.
    pub(super) url: &'a BootUrl,
    /// The same for booted systems that do not know the fleet's CA.
    pub(super) public_url: Option<&'a BootUrl>,
    pub(super) ack_path: Option<String>,
    pub(super) secrets_path: Option<String>,
    /// Values of the gateway's bucket; all were checked to need no quoting.
    pub(super) bucket: Option<Values>,
    /// The generation's variables.
    pub(super) variables: &'a Variables,
}

impl Prelude<'_> {
    /// Puts the prelude before `script`, whose first line becomes a comment.
    ///
    /// No value needs quoting: names, hex digits, numbers and URLs of tokens contain no character
    /// that is special on iPXE's command line (`src/core/exec.c`); see [`check_value`] for variables.
    /// No line can end the script. iPXE
    /// has a setting `gateway` of its own, the router's address (`src/net/ipv4.c`): it takes a name
    /// only with a type, and only `${gateway:string}` gives it back. `gateway_name` has no such
    /// problem.
    pub(super) fn before(&self, script: &[u8]) -> Vec<u8> {
        let Self { gateway, fingerprint, generation, url, public_url, .. } = self;
        let mut prelude = format!(
            "#!ipxe\n\
             set gateway:string {gateway} ||\n\
             set gateway_name {gateway} ||\n\
             set fingerprint {fingerprint} ||\n\
             set client_cert_fingerprint {fingerprint} ||\n\
             set generation {generation} ||\n"
        );
        for (name, path) in [("ack_url", &self.ack_path), ("secrets_url", &self.secrets_path)] {
            let Some(path) = path else { continue };
            prelude += &format!("set {name} {url}{path} ||\n");
            if let Some(public) = public_url {
                prelude += &format!("set public_{name} {public}{path} ||\n");
            }
        }
        for (name, value) in self.bucket.iter().flat_map(Values::named) {
            prelude += &format!("set {name} {value} ||\n");
        }
        // What another version or another host wrote must never run as a command, or take the place
        // of a setting that the boot depends on.
        let usable = |(name, value): &(&VariableName, &String)| {
            !name.is_reserved() && check_value(value).is_ok()
        };
        for (name, value) in self.variables.iter().filter(usable) {
            prelude += &format!("set {name} {value} ||\n");
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
            url: &"https://a".parse().unwrap(),
            public_url: Some(&"https://b".parse().unwrap()),
            ack_path: Some("/boot/ack/x".to_owned()),
            secrets_path: None,
            bucket: None,
            variables: &Variables::new(),
        };
        let text = prelude.before(script);
        assert!(text.starts_with(b"#!ipxe\nset gateway:string lab-1 ||\n"));
        let urls = b"\nset ack_url https://a/boot/ack/x ||\n\
                     set public_ack_url https://b/boot/ack/x ||\n";
        assert!(text.ends_with(&[&urls[..], script].concat()));
    }

    #[test]
    fn variables_are_set_after_what_the_boot_depends_on() {
        let name = |text: &str| VariableName::try_from(text.to_owned()).unwrap();
        let variables = [
            ("console", "ttyS0 x"),
            ("empty", ""),
            // None of these comes out of `farmgate publish`.
            ("gateway_name", "other"),
            ("trust", "0000"),
            ("evil", "a\nchain http://evil"),
            ("more", "a || shell"),
        ];
        let variables = variables.map(|(key, value)| (name(key), value.to_owned())).into();
        let prelude = Prelude {
            gateway: &"lab-1".parse().unwrap(),
            fingerprint: &Fingerprint::from_bytes([0xab; 32]),
            generation: 7,
            url: &"https://a".parse().unwrap(),
            public_url: None,
            ack_path: None,
            secrets_path: None,
            bucket: None,
            variables: &variables,
        };
        let text = String::from_utf8(prelude.before(b"#!ipxe\n")).unwrap();
        let (_, rest) = text.split_once("set generation 7 ||\n").unwrap();
        assert_eq!(rest, "set console ttyS0 x ||\nset empty  ||\n#!ipxe\n");
    }
}
