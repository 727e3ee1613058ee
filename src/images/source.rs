//! Sources of an image: a registry, or files of the folder.

use std::rc::Rc;

use tokio::runtime::Runtime;

use super::Files;
use super::archive;
use super::error::Why;
use super::local::Local;
use super::local::Members;
use super::registry::Connection;
use super::transfer;
use crate::profile::oci::Descriptor;
use crate::profile::oci::MAX_DOCUMENT;
use crate::profile::reference::Digest;
use crate::profile::reference::LocalReference;
use crate::profile::reference::RegistryReference;
use crate::store::blobs::Blobs;

pub(super) enum Source<'a> {
    Registry { runtime: &'a Runtime, connection: Rc<Connection>, name: &'a RegistryReference },
    Local(Local<'a>),
}

impl<'a> Source<'a> {
    pub(super) fn local_layout(files: &'a dyn Files, local: &'a LocalReference) -> Self {
        let members = Members::Folder { files, path: &local.path };
        Self::Local(Local::new(members, local))
    }

    pub(super) fn archive(files: &'a dyn Files, local: &'a LocalReference) -> Result<Self, Why> {
        archive::open(files, local).map(Self::Local)
    }

    /// The document that the reference names, and its content type.
    pub(super) fn named(&self) -> Result<(Vec<u8>, Option<String>), Why> {
        match self {
            Self::Registry { runtime, connection, name } => {
                let digest = name.digest.map(|digest| digest.to_string());
                let wanted = digest.as_deref().unwrap_or_else(|| name.tag_or_latest());
                runtime.block_on(connection.manifest(&name.path, wanted))
            }
            Self::Local(local) => local.named(),
        }
    }

    /// A manifest that an index names.
    pub(super) fn manifest(&self, wanted: &Descriptor) -> Result<Vec<u8>, Why> {
        match self {
            Self::Registry { runtime, connection, name } => {
                let digest = wanted.digest.to_string();
                let (bytes, _) = runtime.block_on(connection.manifest(&name.path, &digest))?;
                right(bytes, wanted, "the manifest")
            }
            Self::Local(local) => small(local, wanted),
        }
    }

    /// The configuration that a manifest names.
    pub(super) fn config(&self, wanted: &Descriptor) -> Result<Vec<u8>, Why> {
        match self {
            Self::Registry { runtime, connection, name } => {
                let digest = wanted.digest.to_string();
                let bytes = runtime.block_on(connection.small(&name.path, &digest, wanted.size))?;
                right(bytes, wanted, "the configuration")
            }
            Self::Local(local) => small(local, wanted),
        }
    }

    /// Copies a layer into a blob.
    pub(super) fn layer(
        &self,
        layer: &Descriptor,
        blobs: &Blobs,
        progress: &dyn Fn(u64),
    ) -> Result<(), Why> {
        match self {
            Self::Registry { runtime, connection, name } => {
                runtime.block_on(transfer::fetch(connection, &name.path, layer, blobs, progress))
            }
            Self::Local(local) => {
                let (from, path) = local.open(layer.digest)?;
                transfer::copy(from, &path, layer, blobs, progress)
            }
        }
    }
}

/// A manifest or configuration in a file.
fn small(local: &Local<'_>, wanted: &Descriptor) -> Result<Vec<u8>, Why> {
    let (bytes, path) = local.small(wanted.digest, wanted.size.min(MAX_DOCUMENT))?;
    right(bytes, wanted, &path)
}

fn right(bytes: Vec<u8>, wanted: &Descriptor, what: &str) -> Result<Vec<u8>, Why> {
    if bytes.len() as u64 == wanted.size && Digest::of(&bytes) == wanted.digest {
        Ok(bytes)
    } else {
        Err(Why::Damaged(what.into()))
    }
}
