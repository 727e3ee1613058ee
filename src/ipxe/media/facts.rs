//! The facts at the head of a medium's script, which `iso verify` reads. Pure.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::config::BootUrl;
use crate::identity::Fingerprint;

const FORMAT: &str = "# farmgate image, format 1";
const ROOT: &str = "# root: ";
const IPXE: &str = "# ipxe: ";
const UNKNOWN: &str = "unknown";
const ECDSA: &str = "# ecdsa: ";
const URL: &str = "# url: ";
const CA: &str = "# ca: ";

/// The facts that an image states about itself, as comments at the head of its script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// SHA-256 of the root certificate that its iPXE trusts.
    pub root: Fingerprint,
    /// Version of its iPXE, if the iPXE states it.
    pub ipxe: Option<String>,
    /// True if its iPXE can use a P-256 identity.
    pub ecdsa: bool,
    /// The boot hosts, in the order in which they are asked.
    pub urls: Vec<BootUrl>,
    /// The root certificate (DER), so that identities can be checked against it on any machine.
    /// Images from before it was recorded have none.
    pub ca: Option<Vec<u8>>,
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FORMAT}")?;
        writeln!(f, "{ROOT}{}", self.root)?;
        writeln!(f, "{IPXE}{}", self.ipxe.as_deref().unwrap_or(UNKNOWN))?;
        writeln!(f, "{ECDSA}{}", if self.ecdsa { "yes" } else { "no" })?;
        self.urls.iter().try_for_each(|url| writeln!(f, "{URL}{url}"))?;
        self.ca.iter().try_for_each(|ca| writeln!(f, "{CA}{}", BASE64_STANDARD.encode(ca)))
    }
}

impl Facts {
    /// Reads the facts from the beginning of a script.
    pub fn read(script: &[u8]) -> Result<Self, Error> {
        let mut lines = script.split(|byte| *byte == b'\n').map(std::str::from_utf8);
        let mut line = || lines.next().and_then(Result::ok);
        if line() != Some("#!ipxe") {
            return Err(Error::NotIpxe);
        }
        match line() {
            Some(FORMAT) => {}
            Some(other) if other.starts_with("# farmgate image, format ") => {
                return Err(Error::OtherFormat);
            }
            _ => return Err(Error::NotOurs),
        }
        let root = line().and_then(|line| line.strip_prefix(ROOT)?.parse().ok());
        let ipxe = line().and_then(|line| line.strip_prefix(IPXE));
        let ecdsa = line().and_then(|line| match line.strip_prefix(ECDSA)? {
            "yes" => Some(true),
            "no" => Some(false),
            _ => None,
        });
        let (mut urls, mut next) = (Vec::new(), line());
        while let Some(url) = next.and_then(|line| line.strip_prefix(URL)) {
            urls.push(url.parse().map_err(|_| Error::Damaged)?);
            next = line();
        }
        let ca = next.and_then(|line| line.strip_prefix(CA));
        let ca = ca.map(|ca| BASE64_STANDARD.decode(ca)).transpose();
        let ca = ca.map_err(|_| Error::Damaged)?;
        if ca.as_ref().is_some_and(|ca| Some(Fingerprint::of_der(ca)) != root) {
            return Err(Error::OtherCa);
        }
        let (Some(root), Some(ipxe), Some(ecdsa)) = (root, ipxe, ecdsa) else {
            return Err(Error::Damaged);
        };
        let ipxe = (ipxe != UNKNOWN).then(|| ipxe.to_owned());
        Ok(Self { root, ipxe, ecdsa, urls, ca })
    }
}

/// Why the head of a script could not be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("its autoexec.ipxe is not an iPXE script")]
    NotIpxe,
    #[error("its script was not written by farmgate")]
    NotOurs,
    #[error("another version of farmgate made it: use that version, or make the image again")]
    OtherFormat,
    #[error("the CA's certificate in its script is not the root that the image names")]
    OtherCa,
    #[error("the head of its script is damaged")]
    Damaged,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let facts = Facts {
            root: Fingerprint::of_der(b"root"),
            ipxe: None,
            ecdsa: false,
            urls: vec!["https://a.example".parse().unwrap(), "https://b.example".parse().unwrap()],
            ca: None,
        };
        let script = format!("#!ipxe\n{facts}\necho boot ||\n");
        assert_eq!(Facts::read(script.as_bytes()), Ok(facts.clone()));
        let facts = Facts { ca: Some(b"root".to_vec()), ..facts };
        let with_ca = format!("#!ipxe\n{facts}\necho boot ||\n");
        assert_eq!(Facts::read(with_ca.as_bytes()), Ok(facts));
        let other = with_ca.replace("# ca: ", "# ca: AAAA");
        assert_eq!(Facts::read(other.as_bytes()), Err(Error::OtherCa));
        let newer = script.replace("format 1", "format 2");
        assert_eq!(Facts::read(newer.as_bytes()), Err(Error::OtherFormat));
        assert_eq!(Facts::read(b"#!ipxe\necho boot\n"), Err(Error::NotOurs));
        assert_eq!(Facts::read(b"echo boot\n"), Err(Error::NotIpxe));
        let torn = script.replace("# ecdsa: no", "# ecdsa: perhaps");
        assert_eq!(Facts::read(torn.as_bytes()), Err(Error::Damaged));
    }

    proptest! {
        #[test]
        fn survives_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Facts::read(&bytes);
            let _ = Facts::read(&[b"#!ipxe\n# farmgate image, format 1\n", &bytes[..]].concat());
        }
    }
}
