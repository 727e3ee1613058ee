use std::fmt;

use crate::config::BootUrl;
use crate::identity::Fingerprint;

const FORMAT: &str = "# farmgate image, format 1";
const ROOT: &str = "# root: ";
const IPXE: &str = "# ipxe: ";
const UNKNOWN: &str = "unknown";
const ECDSA: &str = "# ecdsa: ";
const URL: &str = "# url: ";

/// What an image says about itself, in comments at the head of its script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// SHA-256 of the root certificate that its iPXE trusts.
    pub root: Fingerprint,
    /// Version of its iPXE, when that says it.
    pub ipxe: Option<String>,
    /// Whether its iPXE can use a P-256 identity.
    pub ecdsa: bool,
    /// The boot hosts, in the order in which they are asked.
    pub urls: Vec<BootUrl>,
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FORMAT}")?;
        writeln!(f, "{ROOT}{}", self.root)?;
        writeln!(f, "{IPXE}{}", self.ipxe.as_deref().unwrap_or(UNKNOWN))?;
        writeln!(f, "{ECDSA}{}", if self.ecdsa { "yes" } else { "no" })?;
        self.urls.iter().try_for_each(|url| writeln!(f, "{URL}{url}"))
    }
}

impl Facts {
    /// Reads them from the beginning of a script.
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
        let mut urls = Vec::new();
        while let Some(url) = line().and_then(|line| line.strip_prefix(URL)) {
            urls.push(url.parse().map_err(|_| Error::Damaged)?);
        }
        let (Some(root), Some(ipxe), Some(ecdsa)) = (root, ipxe, ecdsa) else {
            return Err(Error::Damaged);
        };
        let ipxe = (ipxe != UNKNOWN).then(|| ipxe.to_owned());
        Ok(Self { root, ipxe, ecdsa, urls })
    }
}

/// Why the head of a script says nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not an iPXE script.
    #[error("its autoexec.ipxe is no iPXE script")]
    NotIpxe,
    /// An iPXE script, but not one of ours.
    #[error("its script was not written by farmgate")]
    NotOurs,
    /// Written by another version of farmgate.
    #[error(
        "its format is not the one of this farmgate; use the one that made it, or make it anew"
    )]
    OtherFormat,
    /// The lines are not as they should be.
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
        };
        let script = format!("#!ipxe\n{facts}\necho boot ||\n");
        assert_eq!(Facts::read(script.as_bytes()), Ok(facts));
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
