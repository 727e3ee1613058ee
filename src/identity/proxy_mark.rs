//! The proxy mark: the secret by which the server recognises its own nginx. Pure: bytes in, verdict
//! out.

use std::fmt;

use sha1::Sha1;
use sha2::Digest;
use sha2::Sha256;

const LEN: usize = 32;

/// A secret that the server shares with its nginx. nginx sends it in a header, together with the
/// certificate whose key the TLS handshake proved.
///
/// No client can send that header, because no client knows the secret. So the server notices when
/// nginx passes on a certificate that a client only claims, and when another program opens the
/// socket.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyMark([u8; LEN]);

impl ProxyMark {
    /// Draws a new secret.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut secret = [0; LEN];
        getrandom::fill(&mut secret)?;
        Ok(Self(secret))
    }

    /// The secret as a line for nginx's `map` block, in which a file can only define values. That
    /// matters because nginx reads the file as root while the server's user can write it.
    pub fn to_nginx(&self) -> String {
        format!("default \"{}\";\n", hex::encode(self.0))
    }

    /// Reads the output of [`Self::to_nginx`]; returns `None` for anything else.
    pub fn from_nginx(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("default \"")?.strip_suffix("\";\n")?;
        let mut secret = [0; LEN];
        hex::decode_to_slice(digits, &mut secret).ok()?;
        Some(Self(secret)).filter(|mark| mark.to_nginx() == text)
    }

    /// True if the header has exactly one value and it is the one that nginx sends with this
    /// certificate (DER): the secret, a space, and `$ssl_client_fingerprint`, which is the SHA-1.
    ///
    /// nginx offers only SHA-1. An attack would need a certificate of the fleet's CA with the SHA-1
    /// of another one (a second preimage), which nobody can make.
    pub fn proves<'a>(&self, der: &[u8], mut values: impl Iterator<Item = &'a [u8]>) -> bool {
        let expected = format!("{} {}", hex::encode(self.0), sha1(der));
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        // Comparing digests leaks nothing about the secret through timing.
        Sha256::digest(value) == Sha256::digest(expected)
    }
}

/// Checks the header of an nginx from an older configuration, which has no secret; any client can
/// compute it. Use this only for a state without a secret, or while its nginx does not know the
/// secret yet.
pub fn proves_without_secret<'a>(der: &[u8], mut values: impl Iterator<Item = &'a [u8]>) -> bool {
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    value == sha1(der).as_bytes()
}

fn sha1(der: &[u8]) -> String {
    hex::encode(Sha1::digest(der))
}

impl fmt::Debug for ProxyMark {
    /// Hides the secret.
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
