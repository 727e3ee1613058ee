//! The boot script as a gateway gets it: a prelude of settings, then what the
//! operator wrote, byte for byte.

use crate::identity::Fingerprint;
use crate::identity::GatewayName;

/// Puts the prelude before `script`. Its values need no quoting: names, hex
/// digits and numbers hold nothing that iPXE's command line would read
/// (`src/core/exec.c`). The first line of `script` is a comment from here on.
///
/// iPXE has a setting `gateway` of its own, the router's IPv4 address; only with
/// a type it takes a name, and only `${gateway:string}` gives it back.
pub(super) fn with_prelude(
    gateway: &GatewayName,
    fingerprint: &Fingerprint,
    generation: u64,
    script: &[u8],
) -> Vec<u8> {
    let prelude = format!(
        "#!ipxe\n\
         set gateway:string {gateway}\n\
         set fingerprint {fingerprint}\n\
         set client_cert_fingerprint {fingerprint}\n\
         set generation {generation}\n"
    );
    let mut text = prelude.into_bytes();
    text.extend_from_slice(script);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_operators_bytes_as_they_are() {
        let script = b"#!ipxe\r\nkernel vmlinuz x=$y ${z}\n\xff\0";
        let fingerprint = Fingerprint::from_bytes([0xab; 32]);
        let text = with_prelude(&"lab-1".parse().unwrap(), &fingerprint, 7, script);
        assert!(text.starts_with(b"#!ipxe\nset gateway:string lab-1\nset fingerprint abab"));
        assert!(text.ends_with(&[&b"\nset generation 7\n"[..], script].concat()));
    }
}
