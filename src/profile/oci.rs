//! Documents of container images: index, manifest and configuration, of the OCI image specification
//! (<https://github.com/opencontainers/image-spec/blob/v1.1.1/spec.md>) and of Docker's registries
//! (<https://distribution.github.io/distribution/spec/manifest-v2-2/>). Only what is needed to find
//! the image of a gateway, to fetch its layers, and to run it. The boot host publishes by this
//! parser and a gateway's agent pulls by it, so that no image is published that no gateway takes.
//! Pure.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use super::reference::Digest;
use crate::foreign::Foreign;

/// Architecture of gateways, as Go names it.
pub const ARCHITECTURE: &str = "amd64";

const OS: &str = "linux";

/// Longest index, manifest or configuration: the limit that the distribution specification asks of
/// registries for manifests.
pub const MAX_DOCUMENT: u64 = 4 * 1024 * 1024;

/// Most layers of an image, as of Docker. overlayfs stacks 500, but their names have to fit into a
/// page.
pub const MAX_LAYERS: usize = 127;

/// Largest layer. Other limits count its bytes long before; this one keeps sums of sizes small.
const MAX_LAYER: u64 = 1 << 40;

/// Annotation of an index with the name of an image.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

/// Media types that a registry is asked for.
pub const ACCEPTED: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST];

/// Packing of a layer's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    None,
    Gzip,
    Zstd,
}

impl Packing {
    /// The packing of bytes that begin so. Media types may lie, and archives of `docker save` have
    /// none.
    pub fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // The latter are frames that are skipped, with which a stream may begin.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    /// The media type of such a layer.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::None => OCI_LAYER,
            Self::Gzip => OCI_LAYER_GZIP,
            Self::Zstd => OCI_LAYER_ZSTD,
        }
    }
}

/// A reason why a document is not that of an image for gateways.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsuitable {
    #[error("its manifest cannot be read: {0}")]
    Unreadable(Foreign),
    #[error("its configuration cannot be read: {0}")]
    BadConfig(Foreign),
    #[error("it lies in too many indexes")]
    Nested,
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
    #[error("it has no layers")]
    NoLayers,
    #[error("it has {0} layers; {MAX_LAYERS} is the limit")]
    TooManyLayers(usize),
    #[error("its configuration has {0} bytes; {MAX_DOCUMENT} is the limit")]
    LongConfig(u64),
    #[error("a layer has {0} bytes; {MAX_LAYER} is the limit")]
    LongLayer(u64),
    #[error("its manifest names two sizes of {0}")]
    TwoSizes(Digest),
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

    /// Refuses what is no layer that a gateway can unpack.
    fn ensure_layer(&self) -> Result<(), Unsuitable> {
        let media_type = self.media_type.as_str();
        match media_type {
            _ if self.size > MAX_LAYER => Err(Unsuitable::LongLayer(self.size)),
            OCI_LAYER | OCI_LAYER_GZIP | OCI_LAYER_ZSTD => Ok(()),
            DOCKER_LAYER | DOCKER_LAYER_GZIP | DOCKER_LAYER_ZSTD => Ok(()),
            _ if media_type.contains("nondistributable") || media_type.contains("foreign") => {
                Err(Unsuitable::ForeignLayer(media_type.into()))
            }
            _ => Err(Unsuitable::UnknownLayer(media_type.into())),
        }
    }
}

/// The machine that a variant of an image runs on.
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
        match self.layers.len() {
            0 => return Err(Unsuitable::NoLayers),
            1..=MAX_LAYERS => {}
            more => return Err(Unsuitable::TooManyLayers(more)),
        }
        if self.config.size > MAX_DOCUMENT {
            return Err(Unsuitable::LongConfig(self.config.size));
        }
        self.layers.iter().try_for_each(Descriptor::ensure_layer)?;
        let parts = self.parts();
        let is_other = |part: &&Descriptor| parts.get(&part.digest) != Some(&part.size);
        match [&self.config].into_iter().chain(&self.layers).find(is_other) {
            Some(part) => Err(Unsuitable::TwoSizes(part.digest)),
            None => Ok(()),
        }
    }
}

/// The document behind a tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    Index(Index),
    Manifest(Manifest),
}

/// Fields that decide between the two.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
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
        match kind.schema_version {
            2 => {}
            1 => return Err(Unsuitable::Schema1),
            other => return Err(Unsuitable::Unreadable(format!("schema {other}").into())),
        }
        let told = content_type.filter(|told| ACCEPTED.contains(told));
        let inside = kind.media_type.as_deref();
        if let (Some(told), Some(inside)) = (told, inside)
            && told != inside
        {
            return Err(Unsuitable::TwoThings(told.into(), inside.into()));
        }
        if kind.manifests.is_some() && (kind.config.is_some() || kind.layers.is_some()) {
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

/// The program of an image, and its surroundings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// `USER`, `UID` or `UID:GID`; empty for root.
    pub user: String,
    /// `NAME=VALUE`.
    pub environment: Vec<String>,
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    /// Empty for `/`.
    pub working_dir: String,
    /// `SIGTERM`, `15`, or empty.
    pub stop_signal: String,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    config: Option<RawRun>,
    rootfs: RootFs,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawRun {
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    env: Option<Vec<String>>,
    #[serde(default)]
    entrypoint: Option<Vec<String>>,
    #[serde(default)]
    cmd: Option<Vec<String>>,
    #[serde(default)]
    working_dir: Option<String>,
    #[serde(default)]
    stop_signal: Option<String>,
}

/// The layers without their packing.
#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

impl ImageConfig {
    /// Parses the configuration of `manifest`, which must be an image for gateways.
    pub fn parse(bytes: &[u8], manifest: &Manifest) -> Result<Self, Unsuitable> {
        let raw: RawConfig = serde_json::from_slice(bytes)
            .map_err(|error| Unsuitable::BadConfig(error.to_string().into()))?;
        if raw.architecture != ARCHITECTURE || raw.os != OS {
            let found = format!("{}/{}", raw.os, raw.architecture);
            return Err(Unsuitable::Architecture(found.into()));
        }
        let (diffs, layers) = (raw.rootfs.diff_ids.len(), manifest.layers.len());
        if diffs != layers {
            return Err(Unsuitable::Layers { diffs, layers });
        }
        let run = raw.config.unwrap_or_default();
        Ok(Self {
            user: run.user.unwrap_or_default(),
            environment: run.env.unwrap_or_default(),
            entrypoint: run.entrypoint.unwrap_or_default(),
            command: run.cmd.unwrap_or_default(),
            working_dir: run.working_dir.unwrap_or_default(),
            stop_signal: run.stop_signal.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests;
