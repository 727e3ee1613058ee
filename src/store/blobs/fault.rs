//! Faults of a blob on disk.

use std::io;

use crate::fleet::BlobId;

/// Why a blob cannot be handed out.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// There is no such file.
    #[error("blob {0} is missing")]
    Missing(BlobId),
    /// It was cut short, or something was added to it.
    #[error("blob {id} has {found} of {size} bytes")]
    Size {
        /// The blob.
        id: BlobId,
        /// Bytes that are there.
        found: u64,
        /// Bytes that should be.
        size: u64,
    },
    /// It has the right size, and other bytes.
    #[error("blob {0} is damaged: its bytes are not those that it is named after")]
    Digest(BlobId),
    /// The disk does not give it.
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
