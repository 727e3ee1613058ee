//! Failures of steps: at the provider, or on this machine. Pure.

use crate::bucket::error::Error;

/// The failure of a step.
pub(super) enum Failure {
    /// The provider failed or refused.
    Provider(Error),
    /// This machine failed.
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
