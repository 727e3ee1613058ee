//! Container images of generations: finds what a reference means, fetches it, and keeps it as
//! blobs. Network, the folder that is published, and the state's blobs.
//!
//! [`Images::resolve`] turns a reference into the digest of one manifest, [`Images::hold`] fetches
//! its layers, and [`layout()`] makes of both the files below `oci/` of a generation. All bytes
//! are verified while they come, so that a registry can withhold an image but not change it.

mod archive;
mod error;
mod held;
mod layout;
mod local;
mod registry;
mod source;
mod tar_file;
mod transfer;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::rc::Rc;

use cap_std::fs::Dir;
use tokio::runtime::Runtime;

pub use error::ImageError;
pub use error::Why;
pub use held::Change;
pub use held::HeldImage;
pub use held::changes;
pub use held::held;
pub use layout::is_image_file;
pub use layout::layout;
pub use layout::store_layout;

use crate::profile::distribution::Credentials;
use crate::profile::oci::Document;
use crate::profile::oci::ImageConfig;
use crate::profile::oci::Manifest;
use crate::profile::oci::Unsuitable;
use crate::profile::reference::Digest;
use crate::profile::reference::Reference;
use crate::store::blobs::Blobs;
use crate::store::owner::as_caller;
use registry::Connection;
use source::Source;

/// Indexes that an image may lie in: one of a layout, and one of its variants.
const MAX_DEPTH: usize = 3;

/// A registry, as `gateway.toml` describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    /// PEM of the CA certificates to trust; those of the system where it is absent.
    pub ca: Option<Vec<u8>>,
    /// The user there; nobody where it is absent.
    pub credentials: Option<Credentials>,
}

/// The files of the folder that is published.
pub trait Files {
    /// Opens the file at `path`, which never leads out of the folder.
    fn open(&self, path: &str) -> io::Result<File>;
}

/// Follows symbolic links only while they stay inside.
impl Files for Dir {
    fn open(&self, path: &str) -> io::Result<File> {
        as_caller(|| Self::open(self, path)).map(cap_std::fs::File::into_std)
    }
}

/// An image by its digest. Its layers are not here yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    pub reference: Reference,
    /// Digest of the manifest for the gateways' architecture.
    pub digest: Digest,
    /// The manifest's bytes.
    pub bytes: Vec<u8>,
    pub manifest: Manifest,
    /// The configuration's bytes.
    pub config: Vec<u8>,
}

impl Pinned {
    /// Bytes of its configuration and layers.
    pub fn size(&self) -> u64 {
        self.manifest.parts().values().sum()
    }

    /// Bytes that [`Images::hold`] would fetch.
    pub fn missing(&self, blobs: &Blobs) -> u64 {
        let parts = self.manifest.parts().into_iter();
        parts.filter(|(part, _)| !transfer::is_here(blobs, *part)).map(|(_, size)| size).sum()
    }
}

/// Finds and fetches images. Not from within asynchronous code.
pub struct Images {
    runtime: Runtime,
    registries: BTreeMap<String, Registry>,
    /// Most bytes of one image.
    max_size: u64,
    connections: RefCell<HashMap<String, Rc<Connection>>>,
}

impl Images {
    /// Fetches images of at most `max_size` bytes. `registries` says how to speak to registries, by
    /// host and port.
    pub fn new(registries: BTreeMap<String, Registry>, max_size: u64) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, registries, max_size, connections: RefCell::default() })
    }

    /// Finds the manifest that a reference means now, for the gateways' architecture.
    pub fn resolve(&self, reference: &Reference, files: &dyn Files) -> Result<Pinned, ImageError> {
        self.find(reference, files).map_err(|why| ImageError::new(reference, why))
    }

    fn find(&self, reference: &Reference, files: &dyn Files) -> Result<Pinned, Why> {
        let source = self.source(reference, files)?;
        let (mut bytes, content_type) = source.named()?;
        if reference.digest().is_some_and(|digest| digest != Digest::of(&bytes)) {
            return Err(Why::Damaged("the manifest".into()));
        }
        let mut document = Document::parse(&bytes, content_type.as_deref())?;
        for _ in 0..MAX_DEPTH {
            let manifest = match document {
                Document::Index(index) => {
                    let variant = index.variant()?;
                    bytes = source.manifest(variant)?;
                    document = Document::parse(&bytes, None)?;
                    continue;
                }
                Document::Manifest(manifest) => manifest,
            };
            let size = manifest.layers.iter().chain([&manifest.config]);
            let size = size.fold(0u64, |size, part| size.saturating_add(part.size));
            if size > self.max_size {
                return Err(Why::TooLarge { size, max: self.max_size });
            }
            let config = source.config(&manifest.config)?;
            ImageConfig::parse(&config, &manifest)?;
            let (reference, digest) = (reference.clone(), Digest::of(&bytes));
            return Ok(Pinned { reference, digest, bytes, manifest, config });
        }
        Err(Unsuitable::Nested.into())
    }

    /// Fetches all parts of an image that are not here into blobs. `progress` gets the number of
    /// bytes that came.
    pub fn hold(
        &self,
        image: &Pinned,
        files: &dyn Files,
        blobs: &Blobs,
        progress: &dyn Fn(u64),
    ) -> Result<(), ImageError> {
        self.fetch(image, files, blobs, progress)
            .map_err(|why| ImageError::new(&image.reference, why))
    }

    fn fetch(
        &self,
        image: &Pinned,
        files: &dyn Files,
        blobs: &Blobs,
        progress: &dyn Fn(u64),
    ) -> Result<(), Why> {
        for bytes in [&image.bytes, &image.config] {
            blobs.add(&bytes[..]).map_err(Why::Disk)?;
        }
        let mut source = None;
        for layer in &image.manifest.layers {
            // Also the same layer further below.
            if transfer::is_here(blobs, layer.digest) {
                continue;
            }
            let source = match &source {
                Some(source) => source,
                None => source.insert(self.source(&image.reference, files)?),
            };
            source.layer(layer, blobs, progress)?;
        }
        Ok(())
    }

    fn source<'a>(
        &'a self,
        reference: &'a Reference,
        files: &'a dyn Files,
    ) -> Result<Source<'a>, Why> {
        match reference {
            Reference::Registry(name) => {
                let connection = self.connection(&name.host)?;
                Ok(Source::Registry { runtime: &self.runtime, connection, name })
            }
            Reference::Layout(local) => Ok(Source::local_layout(files, local)),
            Reference::Archive(local) => Source::archive(files, local),
        }
    }

    fn connection(&self, host: &str) -> Result<Rc<Connection>, Why> {
        let mut connections = self.connections.borrow_mut();
        if let Some(connection) = connections.get(host) {
            return Ok(connection.clone());
        }
        let none = Registry::default();
        let registry = self.registries.get(host).unwrap_or(&none);
        let connection = Rc::new(Connection::new(host, registry)?);
        connections.insert(host.to_owned(), connection.clone());
        Ok(connection)
    }
}

#[cfg(test)]
mod tests;
