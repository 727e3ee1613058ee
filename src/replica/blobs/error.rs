//! The reason why a blob is not on this host.

use crate::fleet::BlobId;
use crate::replica::failure::Failure;
use crate::replica::remote::Error;

/// The reason why a blob is not on this host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// The shared store did not do as asked.
    #[error("the store {0}")]
    Remote(#[from] Error),
    /// The shared store does not have it.
    #[error("the store has no blob {0}: a host that has it is asked for it")]
    Missing(BlobId),
    /// The shared store has other bytes under its name.
    #[error("the store's blob {0} is damaged: a host with an intact copy is asked for it")]
    Damaged(BlobId),
    /// It could not be read or written here.
    #[error("blob {0} cannot be kept: {1}")]
    Disk(BlobId, String),
}

impl From<BlobError> for Failure {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Remote(error) => Self::Store(error),
            error => Self::Local(error.into()),
        }
    }
}
