use std::io;
use std::time::Duration;

use crate::foreign::Foreign;

/// Why the provider did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, or one that broke.
    #[error("{host} cannot be reached: {source}")]
    Unreachable {
        /// Who was asked.
        host: String,
        /// What happened.
        source: io::Error,
    },
    /// Nothing, or not all, was heard in time.
    #[error("{host} did not answer within {} s (buckets.timeout)", .after.as_secs())]
    TimedOut {
        /// Who was asked.
        host: String,
        /// How long was waited.
        after: Duration,
    },
    /// Without roots of trust nobody can be believed.
    #[error("there are no CA certificates to know {host} by: install the package ca-certificates")]
    NoRoots {
        /// Who was asked.
        host: String,
    },
    /// The credentials are wrong, expired, or allow too little.
    #[error(
        "{host} refuses the credentials ({said}): put good ones in place, \
         with the rights that docs/buckets.md lists"
    )]
    Unauthorized {
        /// Who was asked.
        host: String,
        /// In its words.
        said: Foreign,
    },
    /// 429 or 503.
    #[error("{host} has no time now ({status})")]
    Busy {
        /// Who was asked.
        host: String,
        /// The HTTP status.
        status: u16,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The provider has a fault of its own: 500 and the like.
    #[error("{host} failed ({status}): {said}")]
    Failed {
        /// Who was asked.
        host: String,
        /// The HTTP status.
        status: u16,
        /// In its words.
        said: Foreign,
    },
    /// It was asked for something that it does not do.
    #[error("{host} refused {call}: {said} ({code})")]
    Refused {
        /// Who was asked.
        host: String,
        /// What for.
        call: &'static str,
        /// The provider's code for it.
        code: Foreign,
        /// In its words.
        said: Foreign,
    },
    /// What came is not what the API answers.
    #[error("what {host} answered to {call} is not what the API says: is the address right?")]
    NotUnderstood {
        /// Who was asked.
        host: String,
        /// What for.
        call: &'static str,
    },
    /// The name belongs to somebody else.
    #[error(
        "bucket {bucket} is there already, and was not made for this gateway; \
         `farmgate bucket adopt {gateway} {bucket}` takes it all the same, or rename or delete it"
    )]
    Taken {
        /// Its name.
        bucket: String,
        /// The gateway that was to get it.
        gateway: String,
    },
    /// B2's names are shared by all of its accounts.
    #[error(
        "the name {bucket} belongs to another account of the provider; make a bucket of your own \
         with any name, and let `farmgate bucket adopt {gateway} BUCKET` take it"
    )]
    TakenElsewhere {
        /// Its name.
        bucket: String,
        /// The gateway that was to get it.
        gateway: String,
    },
    /// Whoever knows the name could read it.
    #[error("bucket {bucket} is public: make it private, then `farmgate bucket sync`")]
    Public {
        /// Its name.
        bucket: String,
    },
    /// It was there once, or an operator believed so.
    #[error(
        "there is no bucket {bucket} at the provider; restore it, or give the gateway another one \
         with `farmgate bucket adopt {gateway} BUCKET`"
    )]
    Gone {
        /// Its name.
        bucket: String,
        /// Whose it is.
        gateway: String,
    },
    /// The configuration names another provider than the one that has the bucket.
    #[error(
        "its bucket is at provider {theirs:?}, but buckets.provider is {ours:?}: set it back, or \
         move the data and remove {file}"
    )]
    Elsewhere {
        /// Where the bucket is.
        theirs: String,
        /// What the configuration says.
        ours: &'static str,
        /// What remembers it.
        file: String,
    },
    /// A value that a boot script cannot hold.
    #[error("the provider's {what} holds characters that iPXE would read: it cannot be handed out")]
    Unsafe {
        /// Which value.
        what: &'static str,
    },
}

impl Error {
    /// Whether asking for another gateway would come to the same.
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

    /// How long the provider wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
