use crate::bucket::error::Error;

/// Why a step was not taken.
pub(super) enum Failure {
    /// The provider's fault, or that of what it was asked.
    Provider(Error),
    /// This machine's fault.
    Local(anyhow::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Provider(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Local(error)
    }
}
