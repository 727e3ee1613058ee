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
use crate::store::blobs::Blobs;

const MARK: &str = "oci/oci-layout";

const MARK_TEXT: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}";

/// True if the path of a generation belongs to its images.
pub fn is_image_file(path: &str) -> bool {
    path.strip_prefix(IMAGES).is_some_and(|rest| rest.starts_with('/'))
}

/// The files that make `images` part of a generation. All their parts are blobs already, see
/// [`super::Images::hold`]; without images there are no files.
pub fn layout(images: &[Pinned], blobs: &Blobs) -> Result<BTreeMap<String, Asset>> {
    let Planned { texts, parts: mut files } = planned(images)?;
    for (path, bytes) in texts {
        let stored = blobs.add(&bytes[..]).with_context(|| format!("cannot store {path}"))?;
        files.insert(path.to_owned(), Asset { sha256: stored.0, size: stored.1 });
    }
    Ok(files)
}

/// The files below `oci/` of a generation before they are blobs.
#[derive(Clone, Debug, Default)]
pub struct Planned {
    /// Files that are made.
    pub texts: BTreeMap<&'static str, Vec<u8>>,
    /// Manifests, configurations and layers.
    pub parts: BTreeMap<String, Asset>,
}

/// The files that `images` become, see [`layout`].
pub fn planned(images: &[Pinned]) -> Result<Planned> {
    let mut planned = Planned::default();
    if images.is_empty() {
        return Ok(planned);
    }
    planned.texts.insert(MARK, MARK_TEXT.to_vec());
    planned.texts.insert(IMAGE_INDEX, index(images)?);
    for image in images {
        let parts = image.manifest.parts().into_iter();
        let own = (image.digest, image.bytes.len() as u64);
        for (digest, size) in parts.chain([own]) {
            let asset = Asset { sha256: blob_of(digest), size };
            planned.parts.insert(image_blob(digest), asset);
        }
    }
    Ok(planned)
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
