//! The reason why a pass failed: the store, or this host.

use super::remote::error::Error;

/// The reason why a pass, or a part of it, failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The shared store did not do as asked. That concerns all gateways.
    #[error(transparent)]
    Store(#[from] Error),
    /// Something on this host, which concerns one gateway or one file.
    #[error(transparent)]
    Local(#[from] anyhow::Error),
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn says_by_its_type_where_it_went_wrong() {
        let store = || -> Result<(), Failure> { Err(Error::Slow)? };
        assert!(matches!(store(), Err(Failure::Store(Error::Slow))));
        let local =
            || -> Result<(), Failure> { Ok(Err(std::fmt::Error).context("cannot read X")?) };
        let Err(error @ Failure::Local(_)) = local() else { panic!("it is a local one") };
        assert!(format!("{error:#}").starts_with("cannot read X: "), "{error:#}");
    }
}
