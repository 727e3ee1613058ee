//! Errors of a provider, in words for the operator. Pure.

use std::time::Duration;

use crate::foreign::Foreign;

/// A refusal or failure of the provider. `host` is the server, `said` its own words.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, or one that broke.
    #[error("{host} cannot be reached: {reason}")]
    Unreachable { host: String, reason: String },
    /// No answer, or only a part of one, within `buckets.timeout`.
    #[error("{host} did not answer within {} s (buckets.timeout)", .after.as_secs())]
    TimedOut { host: String, after: Duration },
    #[error("there are no CA certificates to verify {host}: install the package ca-certificates")]
    NoRoots { host: String },
    /// The credentials are wrong, expired, or allow too little.
    #[error(
        "{host} refuses the credentials ({said}): replace them by ones with the rights that \
         docs/buckets.md lists"
    )]
    Unauthorized { host: String, said: Foreign },
    /// 429 or 503.
    #[error("{host} is busy ({status})")]
    Busy { host: String, status: u16, retry_after: Option<Duration> },
    /// 500 and the like.
    #[error("{host} failed ({status}): {said}")]
    Failed { host: String, status: u16, said: Foreign },
    /// Any other status that is not a success. `code` is the provider's own.
    #[error("{host} refused {call}: {said} ({code})")]
    Refused { host: String, call: &'static str, code: Foreign, said: Foreign },
    /// The answer is not one of the API.
    #[error("the answer of {host} to {call} is not one of the API: is the address right?")]
    NotUnderstood { host: String, call: &'static str },
    /// The bucket belongs to somebody else.
    #[error(
        "bucket {bucket} exists already, and was not made for this gateway; \
         `farmgate bucket adopt {gateway} {bucket}` takes it anyway, or rename or delete it"
    )]
    Taken { bucket: String, gateway: String },
    /// All accounts of B2 share one namespace.
    #[error(
        "the name {bucket} belongs to another account of the provider; make a bucket of your own \
         with any name, and let `farmgate bucket adopt {gateway} BUCKET` take it"
    )]
    TakenElsewhere { bucket: String, gateway: String },
    #[error("bucket {bucket} is public: make it private, then `farmgate bucket sync`")]
    Public { bucket: String },
    /// The bucket existed once, or an operator named it.
    #[error(
        "there is no bucket {bucket} at the provider; restore it, or give the gateway another one \
         with `farmgate bucket adopt {gateway} BUCKET`"
    )]
    Gone { bucket: String, gateway: String },
    /// The configuration names another provider than the one that has the bucket.
    #[error(
        "its bucket is at provider {theirs:?}, but buckets.provider is {ours:?}: set it back, or \
         move the data and remove {file}"
    )]
    Elsewhere {
        theirs: String,
        ours: &'static str,
        /// The file that says where the bucket is.
        file: String,
    },
    /// A boot script cannot hold the value.
    #[error(
        "the provider's {what} holds a character that iPXE would interpret: it is not handed out"
    )]
    Unsafe { what: &'static str },
}

impl Error {
    /// Says whether a request for another gateway would fail in the same way.
    pub fn is_general(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::NoRoots { .. }
            | Self::Unauthorized { .. }
            | Self::Busy { .. }
            | Self::Failed { .. }
            | Self::NotUnderstood { .. } => true,
            Self::Refused { .. }
            | Self::Taken { .. }
            | Self::TakenElsewhere { .. }
            | Self::Public { .. }
            | Self::Gone { .. }
            | Self::Elsewhere { .. }
            | Self::Unsafe { .. } => false,
        }
    }

    /// The provider's `Retry-After`.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
