//! The style sheet, the script and the sign of the pages, as they are served.

use std::sync::LazyLock;

use sha2::Digest as _;
use sha2::Sha256;

pub(in crate::server) const STYLE: &str = include_str!("assets/page.css");
pub(in crate::server) const SCRIPT: &str = include_str!("assets/page.js");
pub(in crate::server) const SIGN: &str = include_str!("assets/sign.svg");

/// A text that differs between versions of these files. It is a part of their addresses, so that a
/// browser which keeps them never mixes versions.
pub(in crate::server) fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let digest = Sha256::new().chain_update(STYLE).chain_update(SCRIPT).chain_update(SIGN);
        hex::encode(&digest.finalize()[..6])
    });
    &VERSION
}
