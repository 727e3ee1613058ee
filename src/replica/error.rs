use std::time::Duration;

use crate::foreign::Foreign;

/// Why the common store did not do as asked. The words are the same as long as the reason
/// is, so that a change of it can be told.
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
    /// It wants to be left alone for a while.
    #[error("is overloaded ({status})")]
    Busy {
        /// 429 or 503.
        status: u16,
        /// What it asks for (`Retry-After`).
        retry_after: Option<Duration>,
    },
    /// Nobody listens, or the name is not known.
    #[error("cannot be reached: {0}")]
    Unreachable(Foreign),
    /// It is too slow.
    #[error("does not answer in time")]
    Slow,
    /// An answer ended before its end.
    #[error("breaks off in the middle of an answer")]
    Broken,
    /// It does not understand us, or says that something is wrong with itself.
    #[error("answers {status}: {text}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What it says.
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
    /// Reads what went wrong out of the client's error.
    pub(super) fn of(error: &object_store::Error) -> Self {
        use object_store::client::HttpErrorKind;

        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
        let mut last = String::new();
        let mut transport = None;
        while let Some(cause) = source {
            if let Some(answer) = cause.downcast_ref::<Self>() {
                return answer.clone();
            }
            if let Some(http) = cause.downcast_ref::<object_store::client::HttpError>() {
                transport = Some(http.kind());
            }
            last = cause.to_string();
            source = cause.source();
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
