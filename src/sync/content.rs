//! Files of gateways. Pure.

use std::sync::Arc;

use crate::fleet::Asset;
use crate::fleet::BlobId;
use crate::profile::download::Download;

/// A file of a gateway.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Of the folder.
    InTree {
        /// Path below the folder.
        path: String,
        asset: Asset,
    },
    /// By URL and SHA-256.
    Download(Download),
    /// Made from the gateway's `gateway.toml`.
    Made { bytes: Arc<[u8]>, asset: Asset },
    /// A part of an image that its `gateway.toml` names.
    Image(Asset),
}

impl Content {
    pub(super) fn sha256(&self) -> BlobId {
        match self {
            Self::InTree { asset, .. } | Self::Made { asset, .. } | Self::Image(asset) => {
                asset.sha256
            }
            Self::Download(download) => download.sha256,
        }
    }

    /// Its size, if the folder says it.
    pub(super) fn size(&self) -> Option<u64> {
        match self {
            Self::InTree { asset, .. } | Self::Made { asset, .. } | Self::Image(asset) => {
                Some(asset.size)
            }
            Self::Download(_) => None,
        }
    }
}
