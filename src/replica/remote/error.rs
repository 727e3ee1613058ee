//! Errors of the shared store, with the way out.

use std::error::Error as StdError;
use std::time::Duration;

use object_store::client::HttpError;
use object_store::client::HttpErrorKind;

use crate::foreign::Foreign;

/// An error of the shared store. Its text stays the same for as long as the reason does, since a
/// new text is logged as a new problem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The key is wrong, expired, or not for this bucket; or the bucket is full.
    #[error(
        "refuses the key ({0}): check [store] credentials, what the key may do in the bucket, \
         and the bucket's quota"
    )]
    Denied(Foreign),
    /// There is no such bucket.
    #[error("has no such bucket ({0}): check [store] url")]
    NoBucket(Foreign),
    /// It is overloaded, and may say how long to wait.
    #[error("is overloaded ({status})")]
    Busy {
        /// 429 or 503.
        status: u16,
        /// Its `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Its name is unknown, or nothing listens there.
    #[error("cannot be reached: {0}")]
    Unreachable(Foreign),
    /// It did not answer within the limit.
    #[error("does not answer in time")]
    Slow,
    /// An answer ended before its end.
    #[error("breaks off in the middle of an answer")]
    Broken,
    /// Another HTTP error.
    #[error("answers {status}: {text}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its message.
        text: Foreign,
    },
    /// An object is larger than any that farmgate writes.
    #[error("has an object of {0} bytes, which farmgate cannot have written")]
    TooLarge(u64),
    /// Anything else.
    #[error("{0}")]
    Other(Foreign),
}

impl Error {
    /// Finds the reason in the error chain of object_store. The client boxes the errors of our own
    /// connector (see `throttle`), so the chain must be searched.
    pub(super) fn from_object_store(error: &object_store::Error) -> Self {
        let first: &(dyn StdError + 'static) = error;
        let chain = std::iter::successors(Some(first), |cause| (*cause).source());
        let mut last = String::new();
        let mut transport = None;
        for cause in chain {
            if let Some(answer) = cause.downcast_ref::<Self>() {
                return answer.clone();
            }
            if let Some(http) = cause.downcast_ref::<HttpError>() {
                transport = Some(http.kind());
            }
            last = cause.to_string();
        }
        match (transport, error) {
            (Some(HttpErrorKind::Connect), _) => Self::Unreachable(last.into()),
            (Some(HttpErrorKind::Timeout), _) => Self::Slow,
            (Some(_), _) => Self::Broken,
            (None, object_store::Error::NotFound { path, .. }) => {
                Self::NoBucket(path.as_str().into())
            }
            (None, object_store::Error::PermissionDenied { .. }) => Self::Denied(last.into()),
            (None, _) => Self::Other(last.into()),
        }
    }
}
