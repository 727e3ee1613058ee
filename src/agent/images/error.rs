//! Failures of images on the drive. Each message says what failed and the way out.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use rustix::io::Errno;

use super::source::SourceError;
use crate::foreign::Foreign;
use crate::profile::oci::Unsuitable;
use crate::profile::reference::Digest;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A reason why an image could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The drive is full although everything that no kept image needs was removed.
    #[error(
        "the cache drive is full ({free} MB free): {what}. Use a larger drive, or a smaller image; \
         what containers wrote to the shared cache counts too"
    )]
    Full { what: String, free: u64 },

    /// The drive takes no writes, and what is wanted is not on it yet.
    #[error("the cache drive is read-only: {what}. Check it (fsck), or replace it")]
    ReadOnly { what: String },

    /// The drive fails.
    #[error("the cache drive fails: cannot {what} {}: {source}", path.display())]
    Drive { what: &'static str, path: PathBuf, source: io::Error },

    /// Another process has the store.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),

    /// A manifest, configuration or layer could not be had.
    #[error("cannot fetch {what} {digest} of {reference}: {source}")]
    Source { reference: Foreign, what: &'static str, digest: Digest, source: SourceError },

    /// Bytes other than those that were asked for.
    #[error("{what} of {reference}: {why}, instead of {digest}. The source is damaged or lies")]
    Wrong { reference: Foreign, what: &'static str, digest: Digest, why: String },

    /// A manifest or a configuration that no gateway can run.
    #[error("{reference} ({digest}): {why}")]
    Image { reference: Foreign, digest: Digest, why: Unsuitable },

    /// A layer that cannot be unpacked.
    #[error("layer {digest} of {reference}: {why}. Build the image again")]
    Layer { reference: Foreign, digest: Digest, why: String },

    /// The root file system of a container could not be mounted.
    #[error("cannot mount the root of container {container}: {why}")]
    Mount { container: Foreign, why: String },
}

impl Error {
    /// An error of the drive at `path`.
    pub(super) fn drive(what: &'static str, path: &Path, source: io::Error) -> Self {
        match Errno::from_io_error(&source) {
            Some(Errno::NOSPC | Errno::DQUOT) => {
                Self::Full { what: format!("cannot {what} {}", path.display()), free: 0 }
            }
            Some(Errno::ROFS) => {
                Self::ReadOnly { what: format!("cannot {what} {}", path.display()) }
            }
            _ => Self::Drive { what, path: path.to_owned(), source },
        }
    }

    /// True if room on the drive would help.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    /// True if the drive is at fault, and the agent may do without it.
    pub fn is_of_drive(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::ReadOnly { .. } | Self::Drive { .. })
    }
}
