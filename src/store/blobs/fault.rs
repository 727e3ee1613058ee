//! Faults of a blob on disk.

use std::io;

use crate::fleet::BlobId;

/// The reason for a blob not to be served.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// There is no such file.
    #[error("blob {0} is missing")]
    Missing(BlobId),
    /// It was truncated, or bytes were added.
    #[error("blob {id} has {found} of {size} bytes")]
    Size {
        id: BlobId,
        /// Actual size in bytes.
        found: u64,
        /// Expected size.
        size: u64,
    },
    /// The size is right, but the digest is wrong.
    #[error("blob {0} is damaged: its bytes do not match its SHA-256")]
    Digest(BlobId),
    /// The disk failed to read it.
    #[error("blob {0} cannot be read: {1}")]
    Unreadable(BlobId, io::Error),
}

impl Fault {
    pub(super) fn of(id: BlobId, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing(id),
            _ => Self::Unreadable(id, error),
        }
    }
}
