//! Documents of container images: index, manifest and configuration, of the OCI image specification
//! (<https://github.com/opencontainers/image-spec/blob/v1.1.1/spec.md>) and of Docker's registries
//! (<https://distribution.github.io/distribution/spec/manifest-v2-2/>). Only what is needed to find
//! the image of a gateway and to fetch its layers. Pure.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use super::reference::Digest;
use crate::foreign::Foreign;

/// Architecture of gateways, as Go names it.
pub const ARCHITECTURE: &str = "amd64";

const OS: &str = "linux";

/// Longest index or manifest: the limit that the distribution specification asks of registries.
pub const MAX_MANIFEST: u64 = 4 * 1024 * 1024;

/// Longest configuration.
pub const MAX_CONFIG: u64 = 8 * 1024 * 1024;

/// Most layers of an image; overlayfs takes 500.
pub const MAX_LAYERS: usize = 500;

/// Annotation of an index with the name of an image.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// What is asked of a registry.
pub const ACCEPTED: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST];

/// How the bytes of a layer are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    None,
    Gzip,
    Zstd,
}

/// Why a document is not that of an image for gateways.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsuitable {
    #[error("its manifest cannot be read: {0}")]
    Unreadable(Foreign),
    #[error(
        "it has the format \"schema 1\", which registries gave up: push it again with a current \
         docker or skopeo"
    )]
    Schema1,
    #[error("its manifest says that it is {0} and {1} at once")]
    TwoThings(Foreign, Foreign),
    #[error("\"{0}\" is no manifest of an image")]
    NoManifest(Foreign),
    #[error("\"{0}\" is no image but some other artifact")]
    Artifact(Foreign),
    #[error(
        "a layer must not be handed on by registries (\"{0}\"): it is not with the image; build \
         the image without it"
    )]
    ForeignLayer(Foreign),
    #[error("a layer has the unknown format \"{0}\"")]
    UnknownLayer(Foreign),
    #[error("it has {0} layers; {MAX_LAYERS} is the limit")]
    TooManyLayers(usize),
    #[error("it is not for linux/{ARCHITECTURE}, the architecture of gateways, but for {0}")]
    Architecture(Foreign),
    #[error(
        "it has no variant for linux/{ARCHITECTURE}, the architecture of gateways; there is {0}"
    )]
    NoVariant(Foreign),
    #[error("its configuration lists {diffs} layers, and its manifest {layers}")]
    Layers { diffs: usize, layers: usize },
}

/// A reference by digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    /// The name of the image in an index.
    pub fn ref_name(&self) -> Option<&str> {
        self.annotation(REF_NAME)
    }

    /// An annotation by its name.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(name).map(String::as_str)
    }

    /// How a layer is packed, or why it is none that a gateway can unpack.
    pub fn packing(&self) -> Result<Packing, Unsuitable> {
        let media_type = self.media_type.as_str();
        match media_type {
            OCI_LAYER | DOCKER_LAYER => Ok(Packing::None),
            OCI_LAYER_GZIP | DOCKER_LAYER_GZIP => Ok(Packing::Gzip),
            OCI_LAYER_ZSTD => Ok(Packing::Zstd),
            _ if media_type.contains("nondistributable") || media_type.contains("foreign") => {
                Err(Unsuitable::ForeignLayer(media_type.into()))
            }
            _ => Err(Unsuitable::UnknownLayer(media_type.into())),
        }
    }
}

/// What a variant of an image runs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// The variants of an image, or the images of a layout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    pub manifests: Vec<Descriptor>,
}

impl Index {
    /// An index over these manifests.
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self { schema_version: 2, media_type: Some(OCI_INDEX.to_owned()), manifests }
    }

    /// The variant for gateways: of several, the one for the oldest processor.
    pub fn variant(&self) -> Result<&Descriptor, Unsuitable> {
        let fits = |platform: &Platform| platform.architecture == ARCHITECTURE && platform.os == OS;
        let fitting = self.manifests.iter().filter_map(|d| Some((d.platform.as_ref()?, d)));
        let fitting = fitting.filter(|(platform, _)| fits(platform));
        let found = fitting.min_by_key(|(platform, _)| platform.variant.as_deref());
        found.map(|(_, descriptor)| descriptor).ok_or_else(|| {
            let platforms = self.manifests.iter().filter_map(|d| d.platform.as_ref());
            // What builds an image describes it under an unknown platform.
            let known = platforms.filter(|platform| platform.os != "unknown");
            let there: BTreeSet<String> =
                known.map(|p| format!("{}/{}", p.os, p.architecture)).collect();
            let there = there.into_iter().collect::<Vec<_>>().join(", ");
            let there = if there.is_empty() { "none that says what it is for" } else { &there };
            Unsuitable::NoVariant(there.into())
        })
    }
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

impl Manifest {
    /// A manifest of an OCI image.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self { schema_version: 2, media_type: Some(OCI_MANIFEST.to_owned()), config, layers }
    }

    /// Its configuration and its layers, each once.
    pub fn parts(&self) -> BTreeMap<Digest, u64> {
        let all = [&self.config].into_iter().chain(&self.layers);
        all.map(|part| (part.digest, part.size)).collect()
    }

    fn ensure_image(&self) -> Result<(), Unsuitable> {
        if !matches!(self.config.media_type.as_str(), OCI_CONFIG | DOCKER_CONFIG) {
            return Err(Unsuitable::Artifact(self.config.media_type.as_str().into()));
        }
        if self.layers.len() > MAX_LAYERS {
            return Err(Unsuitable::TooManyLayers(self.layers.len()));
        }
        self.layers.iter().try_for_each(|layer| layer.packing().map(drop))
    }
}

/// What stands behind a tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    Index(Index),
    Manifest(Manifest),
}

/// What decides between the two.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Parses an index or a manifest, which must be that of an image. `content_type` is what the
    /// registry says that it is. Bytes that two programs could read as two things are refused
    /// (<https://github.com/opencontainers/distribution-spec/security/advisories/GHSA-mc8v-mgrf-8f4m>).
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, Unsuitable> {
        let unreadable =
            |error: serde_json::Error| Unsuitable::Unreadable(error.to_string().into());
        let content_type = content_type.map(|text| text.split(';').next().unwrap_or(text).trim());
        if content_type.is_some_and(|t| t.contains("distribution.manifest.v1")) {
            return Err(Unsuitable::Schema1);
        }
        let kind: Kind = serde_json::from_slice(bytes).map_err(unreadable)?;
        if kind.schema_version == 1 {
            return Err(Unsuitable::Schema1);
        }
        let told = content_type.filter(|told| ACCEPTED.contains(told));
        let inside = kind.media_type.as_deref();
        if let (Some(told), Some(inside)) = (told, inside)
            && told != inside
        {
            return Err(Unsuitable::TwoThings(told.into(), inside.into()));
        }
        if kind.manifests.is_some() && kind.layers.is_some() {
            return Err(Unsuitable::TwoThings("an index".into(), "an image".into()));
        }
        let is_index = match inside.or(told) {
            Some(OCI_INDEX | DOCKER_INDEX) => true,
            Some(OCI_MANIFEST | DOCKER_MANIFEST) => false,
            Some(other) => return Err(Unsuitable::NoManifest(other.into())),
            None => kind.manifests.is_some(),
        };
        if is_index {
            return serde_json::from_slice(bytes).map(Self::Index).map_err(unreadable);
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(unreadable)?;
        manifest.ensure_image()?;
        Ok(Self::Manifest(manifest))
    }
}

/// What a configuration says about the layers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ImageConfig {
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
    pub rootfs: RootFs,
}

/// The layers without their packing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RootFs {
    pub diff_ids: Vec<Digest>,
}

impl ImageConfig {
    /// Parses the configuration of `manifest`, which must be an image for gateways.
    pub fn parse(bytes: &[u8], manifest: &Manifest) -> Result<Self, Unsuitable> {
        let config: Self = serde_json::from_slice(bytes)
            .map_err(|error| Unsuitable::Unreadable(error.to_string().into()))?;
        if config.architecture != ARCHITECTURE || config.os != OS {
            let found = format!("{}/{}", config.os, config.architecture);
            return Err(Unsuitable::Architecture(found.into()));
        }
        let (diffs, layers) = (config.rootfs.diff_ids.len(), manifest.layers.len());
        if diffs != layers {
            return Err(Unsuitable::Layers { diffs, layers });
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests;
