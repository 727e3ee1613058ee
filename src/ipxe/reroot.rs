//! Re-rooting: makes an iPXE binary trust another root. Pure.
//!
//! iPXE trusts one built-in root, named by the SHA-256 of its certificate. Only these 32 bytes
//! change, so iPXE need not be compiled again.

use std::borrow::Cow;

use memchr::memmem;

use super::binary;
use super::binary::Binary;
use super::binary::Kind;
use super::binary::STOCK_ROOT;
use super::packed;
use crate::identity::Fingerprint;

/// Returns the binary, trusting only `root`.
///
/// A binary that already trusts this root, because it was built with `TRUST=` or re-rooted before,
/// is returned unchanged.
pub fn reroot<'a>(kind: Kind, file: &'a [u8], root: &Fingerprint) -> Result<Cow<'a, [u8]>, Error> {
    let binary = Binary::read(kind, file)?;
    let file = match (binary.count_root(&STOCK_ROOT), binary.count_root(root)) {
        (0, 1) => Cow::Borrowed(file),
        (1, 0) => Cow::Owned(replace(&binary, root)?),
        (0, 0) => return Err(Error::NoRoot),
        (stock, own) => return Err(Error::SeveralRoots { stock, own }),
    };
    let done = Binary::read(kind, &file)?;
    if (done.count_root(&STOCK_ROOT), done.count_root(root)) != (0, 1) {
        return Err(Error::NotReadBack);
    }
    Ok(file)
}

fn replace(binary: &Binary<'_>, root: &Fingerprint) -> Result<Vec<u8>, Error> {
    let mut payload = binary.payload().to_vec();
    let at = memmem::find(&payload, STOCK_ROOT.as_bytes()).ok_or(Error::NoRoot)?;
    payload[at..at + root.as_bytes().len()].copy_from_slice(root.as_bytes());
    match &binary.packed {
        Some(packed) => Ok(packed.replace(binary.file, &payload)?),
        None => Ok(payload),
    }
}

/// Why a binary was not re-rooted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Binary(#[from] binary::Error),
    #[error(transparent)]
    Packed(#[from] packed::Error),
    #[error(
        "it trusts neither iPXE's own root nor this CA: it was built without HTTPS, is too old, \
         or was built to trust another root"
    )]
    NoRoot,
    #[error("expected one root of trust, found iPXE's own {stock} times and this CA's {own} times")]
    SeveralRoots {
        /// Occurrences of iPXE's own root.
        stock: usize,
        /// Occurrences of the wanted root.
        own: usize,
    },
    #[error("the re-rooted binary does not read back")]
    NotReadBack,
}
