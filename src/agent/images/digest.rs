//! Digests of bytes, and the names of files that are called after one. Pure.

use sha2::Digest as _;
use sha2::Sha256;

pub use crate::profile::reference::Digest;

/// The digest of `bytes`.
pub(super) fn of(bytes: &[u8]) -> Digest {
    Digest::of_sha256(Sha256::digest(bytes).into())
}

pub(super) fn finish(hasher: Sha256) -> Digest {
    Digest::of_sha256(hasher.finalize().into())
}

/// Reads [`Digest::hex`].
pub(super) fn from_hex(text: &str) -> Option<Digest> {
    format!("sha256:{text}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_digest_calls_itself_is_read() {
        let digest = of(b"");
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest.hex(), hex);
        assert_eq!(from_hex(hex), Some(digest));
        for bad in ["", &hex[1..], &hex.to_uppercase(), "lost+found", "../../etc/passwd"] {
            assert_eq!(from_hex(bad), None, "{bad}");
        }
    }
}
