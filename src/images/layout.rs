//! The files below `oci/` of a generation: an image layout with its images.

use std::collections::BTreeMap;

use anyhow::Context;
use anyhow::Result;

use super::Pinned;
use super::transfer::blob_of;
use crate::fleet::Asset;
use crate::profile::agent::IMAGE_INDEX;
use crate::profile::agent::IMAGES;
use crate::profile::agent::image_blob;
use crate::profile::oci::DOCKER_MANIFEST;
use crate::profile::oci::Descriptor;
use crate::profile::oci::Index;
use crate::profile::oci::OCI_MANIFEST;
use crate::profile::oci::REF_NAME;
use crate::profile::reference::Digest;
use crate::store::blobs::Blobs;

const MARK: &str = "oci/oci-layout";

const MARK_TEXT: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}";

/// True if the path of a generation belongs to its images.
pub fn is_image_file(path: &str) -> bool {
    path.strip_prefix(IMAGES).is_some_and(|rest| rest.starts_with('/'))
}

/// The files that make `images` part of a generation; without images there are none.
pub fn layout(images: &[Pinned]) -> Result<BTreeMap<String, Asset>> {
    let mut files = BTreeMap::new();
    for (path, bytes) in own_files(images)? {
        let sha256 = blob_of(Digest::of(&bytes));
        files.insert(path.to_owned(), Asset { sha256, size: bytes.len() as u64 });
    }
    for image in images {
        let parts = image.manifest.parts().into_iter();
        let own = (image.digest, image.bytes.len() as u64);
        for (digest, size) in parts.chain([own]) {
            let asset = Asset { sha256: blob_of(digest), size };
            files.insert(image_blob(digest), asset);
        }
    }
    Ok(files)
}

/// The same, with those files as blobs that no image has. See [`super::Images::hold`] for the others.
pub fn store_layout(images: &[Pinned], blobs: &Blobs) -> Result<BTreeMap<String, Asset>> {
    for (path, bytes) in own_files(images)? {
        blobs.add(&bytes[..]).with_context(|| format!("cannot store {path}"))?;
    }
    layout(images)
}

/// The files that make a layout of images.
fn own_files(images: &[Pinned]) -> Result<Vec<(&'static str, Vec<u8>)>> {
    match images {
        [] => Ok(Vec::new()),
        images => Ok(vec![(MARK, MARK_TEXT.to_vec()), (IMAGE_INDEX, index(images)?)]),
    }
}

/// The index: the same for the same images, in whatever order.
fn index(images: &[Pinned]) -> Result<Vec<u8>> {
    let by_name: BTreeMap<String, &Pinned> =
        images.iter().map(|image| (image.reference.to_string(), image)).collect();
    let manifests = by_name.into_iter().map(|(name, image)| {
        let media_type = match image.manifest.media_type.as_deref() {
            Some(DOCKER_MANIFEST) => DOCKER_MANIFEST,
            _ => OCI_MANIFEST,
        };
        Descriptor {
            media_type: media_type.to_owned(),
            digest: image.digest,
            size: image.bytes.len() as u64,
            platform: None,
            annotations: Some(BTreeMap::from([(REF_NAME.to_owned(), name)])),
        }
    });
    Ok(serde_json::to_vec(&Index::new(manifests.collect()))?)
}
