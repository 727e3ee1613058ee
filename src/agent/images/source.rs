//! Sources of images: the boot host, or a registry.

use std::io::Read;
use std::time::Duration;

use crate::profile::reference::Digest;

/// A place that has images. Implementations do not retry: the store does, from where it was cut.
pub trait Source: Sync {
    /// The bytes of a manifest, at most [`MAX_DOCUMENT`](crate::profile::oci::MAX_DOCUMENT) and one more. The store checks the
    /// digest.
    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, SourceError>;

    /// A configuration or a layer, from byte `from` on.
    fn blob(&self, digest: &Digest, from: u64) -> Result<Body, SourceError>;
}

/// The answer to [`Source::blob`].
pub struct Body {
    /// Offset of the first byte: the wanted one, or 0 if the server knows no ranges.
    pub from: u64,
    /// The bytes. The store reads no more of them than the manifest announces.
    pub bytes: Box<dyn Read + Send>,
}

/// A reason why a source has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// 401 or 403: the token ran out, or was never good. Only a new boot brings another.
    #[error("{0}")]
    Refused(String),
    /// 404: the source does not have it.
    #[error("{0}")]
    Missing(String),
    /// The source is away or busy; the store asks again.
    #[error("{why}")]
    Away {
        why: String,
        /// The time for which the source asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// An answer that another try does not change, such as a wrong certificate.
    #[error("{0}")]
    Failed(String),
}
