//! The mark by which the server knows its nginx. Pure: bytes in, verdict out.

use std::fmt;

use sha1::Sha1;
use sha2::Digest;
use sha2::Sha256;

const LEN: usize = 32;

/// A secret that the server shares with its nginx. With it, nginx names in a header the
/// certificate whose key its handshake proved. An nginx that passes on what a client claims can
/// be told by it, because no client can send that header; and so can whoever else reaches the
/// socket, because nobody else knows the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyMark([u8; LEN]);

impl ProxyMark {
    /// Draws a new secret.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut secret = [0; LEN];
        getrandom::fill(&mut secret)?;
        Ok(Self(secret))
    }

    /// As nginx reads it, within a block `map`. It holds a value and nothing that could do more:
    /// nginx reads it as root, and the server's own user can write it.
    pub fn to_nginx(&self) -> String {
        format!("default \"{}\";\n", hex::encode(self.0))
    }

    /// Reads what [`Self::to_nginx`] wrote; `None` if it is anything else.
    pub fn from_nginx(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("default \"")?.strip_suffix("\";\n")?;
        let mut secret = [0; LEN];
        hex::decode_to_slice(digits, &mut secret).ok()?;
        Some(Self(secret)).filter(|mark| mark.to_nginx() == text)
    }

    /// Whether the values of the header are the one that nginx sends with this certificate
    /// (DER): the secret, a space, and `$ssl_client_fingerprint`, its SHA-1.
    ///
    /// SHA-1 is what nginx has. To cheat, one would need a certificate of the fleet's CA with the
    /// SHA-1 of another one, which nobody can make.
    pub fn proves<'a>(&self, der: &[u8], mut values: impl Iterator<Item = &'a [u8]>) -> bool {
        let expected = format!("{} {}", hex::encode(self.0), sha1(der));
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        // How long it takes to compare digests says nothing about what they are of.
        Sha256::digest(value) == Sha256::digest(expected)
    }
}

/// The same of the nginx of a version before, which knew no secret: everybody can tell what it
/// sends. Only for a state that has none, or whose nginx does not know it yet.
pub fn proves_without_secret<'a>(der: &[u8], mut values: impl Iterator<Item = &'a [u8]>) -> bool {
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    value == sha1(der).as_bytes()
}

fn sha1(der: &[u8]) -> String {
    hex::encode(Sha1::digest(der))
}

impl fmt::Debug for ProxyMark {
    /// Never shows the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyMark").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proves(mark: &ProxyMark, values: &[&str]) -> bool {
        mark.proves(b"abc", values.iter().map(|value| value.as_bytes()))
    }

    #[test]
    fn only_the_secret_with_the_certificate_proves_it() {
        let mark = ProxyMark([0xab; LEN]);
        let (secret, of_abc) = ("ab".repeat(LEN), "a9993e364706816aba3e25717850c26c9cd0d89d");
        let good = format!("{secret} {of_abc}");
        assert!(proves(&mark, &[&good]));
        assert!(!proves(&ProxyMark([0xac; LEN]), &[&good]));
        let of_other = format!("{secret} {}", sha1(b"abd"));
        for wrong in [&*of_other, of_abc, &secret, "", &good.to_uppercase(), &format!("{good} ")] {
            assert!(!proves(&mark, &[wrong]), "{wrong}");
        }
        assert!(!proves(&mark, &[]) && !proves(&mark, &[&good, &good]));

        let without = |values: &[&str]| {
            proves_without_secret(b"abc", values.iter().map(|value| value.as_bytes()))
        };
        assert!(without(&[of_abc]));
        assert!(!without(&[&good]) && !without(&[]) && !without(&[of_abc, of_abc]));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_and_nothing_else(secret: [u8; LEN], cut in 0usize..80) {
            let text = ProxyMark(secret).to_nginx();
            prop_assert_eq!(ProxyMark::from_nginx(&text), Some(ProxyMark(secret)));
            let mut other = text.clone();
            other.insert(cut.min(text.len()), ';');
            prop_assert_eq!(ProxyMark::from_nginx(&other), None);
            prop_assert_eq!(ProxyMark::from_nginx(&text[..cut.min(text.len() - 1)]), None);
        }
    }
}
