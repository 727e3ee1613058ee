//! Reasons why an image cannot be had.

use std::io;

use crate::foreign::Foreign;
use crate::profile::oci::Unsuitable;
use crate::profile::reference::Reference;

/// An image that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("image {reference}: {why}")]
pub struct ImageError {
    reference: String,
    pub why: Why,
}

impl ImageError {
    pub(super) fn new(reference: &Reference, why: Why) -> Self {
        Self { reference: reference.to_string(), why }
    }

    /// True if the registry may have the image and cannot be asked now.
    pub fn is_out_of_reach(&self) -> bool {
        matches!(self.why, Why::Unreachable { .. } | Why::Busy { .. } | Why::Failed { .. })
    }
}

/// The reason.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    #[error("the registry {host} cannot be reached: {reason}")]
    Unreachable { host: String, reason: Foreign },
    #[error(
        "the registry {host} has a certificate that is not trusted: {reason}; name its CA as `ca` \
         of [registry.\"{host}\"]"
    )]
    Untrusted { host: String, reason: Foreign },
    #[error("the CA of the registry {host} is not a PEM file with certificates")]
    BadCa { host: String },
    #[error(
        "the registry {host} wants to know who asks: name `credentials` of [registry.\"{host}\"]"
    )]
    NoCredentials { host: String },
    #[error("the registry {host} does not accept the credentials of [registry.\"{host}\"]")]
    Unauthorized { host: String },
    #[error("the registry {host} does not let us read it")]
    Denied { host: String },
    #[error("the registry {host} asks for an unknown kind of authentication: {scheme}")]
    UnknownScheme { host: String, scheme: Foreign },
    #[error("the registry {host} has no {what}")]
    NotFound { host: String, what: String },
    #[error("the registry {host} is busy ({status}); try again {when}")]
    Busy { host: String, status: u16, when: String },
    #[error("the registry {host} fails with {status}")]
    Failed { host: String, status: u16 },
    #[error("the registry {host} answers with {status} {what}")]
    Odd { host: String, status: u16, what: Foreign },
    #[error("the registry {host} broke off again and again: {got} of {size} bytes of a layer came")]
    Short { host: String, got: u64, size: u64 },
    #[error("{0} does not have the bytes that its digest promises")]
    Damaged(Foreign),
    #[error("{what} has more than the {max} bytes that it may have")]
    TooLong { what: Foreign, max: u64 },
    #[error("it has {size} bytes, and {max} is the limit (`max-size` of [images])")]
    TooLarge { size: u64, max: u64 },
    #[error("{0}")]
    Unsuitable(#[from] Unsuitable),
    #[error("cannot read {path}: {error}")]
    Unreadable { path: String, error: io::Error },
    #[error("{path} is {what}")]
    NoImage { path: String, what: &'static str },
    #[error("{path} has no image {wanted}; there is {there}")]
    NoSuchImage { path: String, wanted: Foreign, there: Foreign },
    #[error("{path} has several images; name one of them: {there}")]
    SeveralImages { path: String, there: Foreign },
    #[error("it cannot be stored: {0}")]
    Disk(io::Error),
}
