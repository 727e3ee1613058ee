//! Manifests, indexes and configurations of images
//! (<https://github.com/opencontainers/image-spec/tree/v1.1.1>, and Docker's forms of them). Pure:
//! bytes in, values out.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::digest::Digest;
use crate::foreign::Foreign;

/// Longest manifest or configuration that is read. Registries take 4 MiB.
pub const MAX_DOCUMENT: u64 = 4 << 20;

/// Most layers of an image, as of Docker. overlayfs stacks 500.
pub const MAX_LAYERS: usize = 127;

/// Largest layer. Its bytes are counted long before, by the room on the drive.
const MAX_LAYER: u64 = 1 << 40;

/// The architecture that images must have, in Go's words.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A layer, or another blob that a manifest names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blob {
    pub digest: Digest,
    pub size: u64,
}

/// The manifest of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub config: Blob,
    /// From the bottom up.
    pub layers: Vec<Blob>,
}

/// What a digest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Document {
    Manifest(Manifest),
    /// The manifest for this machine, of an index for several.
    Index(Digest),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<RawBlob>,
    #[serde(default)]
    layers: Option<Vec<RawBlob>>,
    #[serde(default)]
    manifests: Option<Vec<RawBlob>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawBlob {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    platform: Option<RawPlatform>,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
}

/// Reads a manifest or an index; of an index only what this machine needs. The error completes a
/// sentence that starts with the image's name.
pub(super) fn read_document(bytes: &[u8]) -> Result<Document, String> {
    let raw: RawDocument = json(bytes, "manifest")?;
    if raw.schema_version != 2 {
        return Err(format!("has a manifest of schema version {}", raw.schema_version));
    }
    let index = raw.media_type.as_deref().is_some_and(|media_type| {
        media_type.ends_with("image.index.v1+json") || media_type.ends_with("manifest.list.v2+json")
    });
    match (raw.manifests, raw.config, raw.layers) {
        (Some(manifests), None, None) => ours(&manifests).map(Document::Index),
        (None, Some(config), Some(layers)) if !index => {
            manifest(&config, &layers).map(Document::Manifest)
        }
        _ => Err("has a manifest that is neither that of an image nor an index".to_owned()),
    }
}

/// The manifest of this machine's architecture.
fn ours(manifests: &[RawBlob]) -> Result<Digest, String> {
    let platform = |manifest: &RawBlob| {
        let platform = manifest.platform.as_ref()?;
        Some((platform.os.clone(), platform.architecture.clone()))
    };
    let wanted = Some(("linux".to_owned(), architecture().to_owned()));
    if let Some(found) = manifests.iter().find(|manifest| platform(manifest) == wanted) {
        return Ok(found.digest);
    }
    let there = manifests.iter().filter_map(platform);
    let there: Vec<_> = there.map(|(os, architecture)| format!("{os}/{architecture}")).collect();
    let there = if there.is_empty() { "no platform".to_owned() } else { there.join(", ") };
    Err(format!("is not for linux/{}, only for {}", architecture(), Foreign::new(&there)))
}

fn manifest(config: &RawBlob, layers: &[RawBlob]) -> Result<Manifest, String> {
    if layers.is_empty() {
        return Err("has no layers".to_owned());
    }
    if layers.len() > MAX_LAYERS {
        return Err(format!("has {} layers; {MAX_LAYERS} are possible", layers.len()));
    }
    if config.size > MAX_DOCUMENT {
        return Err(format!("has a configuration of {} bytes", config.size));
    }
    for layer in layers {
        if !is_layer(&layer.media_type) {
            let media_type = Foreign::new(&layer.media_type);
            return Err(format!("has a layer of type {media_type}, so it is no container image"));
        }
        if layer.size > MAX_LAYER {
            return Err(format!("has a layer of {} bytes", layer.size));
        }
    }
    let blob = |raw: &RawBlob| Blob { digest: raw.digest, size: raw.size };
    let manifest = Manifest { config: blob(config), layers: layers.iter().map(blob).collect() };
    let mut sizes = BTreeMap::new();
    for layer in &manifest.layers {
        if *sizes.entry(layer.digest).or_insert(layer.size) != layer.size {
            return Err(format!("names two sizes of layer {}", layer.digest));
        }
    }
    Ok(manifest)
}

/// Types of layers that are tar archives, whatever they are packed with: the bytes tell that.
fn is_layer(media_type: &str) -> bool {
    let known = ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."];
    known.iter().any(|prefix| media_type.starts_with(prefix))
        && ["tar", "tar+gzip", "tar+zstd", "tar.gzip", "tar.zstd"]
            .iter()
            .any(|form| media_type.ends_with(form))
}

/// What an image runs, and how.
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
    rootfs: RawRoot,
}

#[derive(Deserialize)]
struct RawRoot {
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
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

/// Reads the configuration of an image with `layers` layers.
pub(super) fn read_config(bytes: &[u8], layers: usize) -> Result<ImageConfig, String> {
    let raw: RawConfig = json(bytes, "configuration")?;
    let (os, arch) = (Foreign::new(&raw.os), Foreign::new(&raw.architecture));
    if raw.os != "linux" || raw.architecture != architecture() {
        return Err(format!("is for {os}/{arch}; this machine is linux/{}", architecture()));
    }
    let named = raw.rootfs.diff_ids.unwrap_or_default().len();
    if named != layers {
        return Err(format!("has {layers} layers, and a configuration for {named}"));
    }
    let run = raw.config.unwrap_or_default();
    Ok(ImageConfig {
        user: run.user.unwrap_or_default(),
        environment: run.env.unwrap_or_default(),
        entrypoint: run.entrypoint.unwrap_or_default(),
        command: run.cmd.unwrap_or_default(),
        working_dir: run.working_dir.unwrap_or_default(),
        stop_signal: run.stop_signal.unwrap_or_default(),
    })
}

fn json<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, String> {
    serde_json::from_slice(bytes)
        .map_err(|error| format!("has an invalid {what}: {}", Foreign::new(&error.to_string())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::digest;
    use super::*;

    const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

    fn blob(media_type: &str, size: u64) -> serde_json::Value {
        json!({ "mediaType": media_type, "digest": digest::of(media_type.as_bytes()), "size": size })
    }

    fn document(value: &serde_json::Value) -> Result<Document, String> {
        read_document(value.to_string().as_bytes())
    }

    fn image(layers: Vec<serde_json::Value>) -> Result<Document, String> {
        let config = blob("application/vnd.oci.image.config.v1+json", 7);
        document(&json!({ "schemaVersion": 2, "config": config, "layers": layers }))
    }

    #[test]
    fn an_image_with_layers_of_every_packing_is_read() {
        let known = [
            LAYER,
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ];
        for media_type in known {
            let Document::Manifest(read) = image(vec![blob(media_type, 5)]).unwrap() else {
                panic!("no manifest");
            };
            let digest = digest::of(media_type.as_bytes());
            assert_eq!(read.layers, [Blob { digest, size: 5 }]);
        }
        assert!(image(vec![blob(LAYER, 1); MAX_LAYERS]).is_ok());
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let many = vec![blob(LAYER, 1); MAX_LAYERS + 1];
        for (layers, why) in [
            (vec![], "no layers"),
            (many, "128 layers"),
            (vec![blob("application/vnd.in-toto+json", 1)], "no container image"),
            (vec![blob("application/vnd.oci.image.layer.v1.tar+encrypted", 1)], "no container"),
            (vec![blob(LAYER, u64::MAX)], "bytes"),
            (vec![blob(LAYER, 1), blob(LAYER, 2)], "two sizes"),
        ] {
            let error = image(layers).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        for bad in [
            json!({ "schemaVersion": 1, "fsLayers": [] }),
            json!({ "schemaVersion": 2 }),
            json!({ "schemaVersion": 2, "config": blob("c", 1), "layers": [], "manifests": [] }),
            json!([]),
        ] {
            document(&bad).unwrap_err();
        }
    }

    #[test]
    fn an_index_gives_our_manifest_or_says_what_it_has() {
        let entry = |architecture: &str, size: u64| {
            let mut entry = blob(architecture, size);
            entry["platform"] = json!({ "os": "linux", "architecture": architecture });
            entry
        };
        let other = entry("mips64le", 1);
        let index = |manifests: &[serde_json::Value]| {
            document(&json!({ "schemaVersion": 2, "manifests": manifests }))
        };
        let both = index(&[other.clone(), entry(architecture(), 2)]).unwrap();
        assert_eq!(both, Document::Index(digest::of(architecture().as_bytes())));
        let error = index(&[other]).unwrap_err();
        assert!(error.contains("only for linux/mips64le"), "{error}");
        assert!(index(&[]).unwrap_err().contains("no platform"));
    }

    #[test]
    fn a_configuration_for_another_machine_is_refused() {
        let config = |architecture: &str, layers: usize| {
            let ids = vec!["sha256:00"; layers];
            let run = json!({ "Env": ["A=b"], "Cmd": null, "Entrypoint": ["/init"] });
            let value = json!({ "architecture": architecture, "os": "linux", "config": run,
                "rootfs": { "type": "layers", "diff_ids": ids } });
            read_config(value.to_string().as_bytes(), 2)
        };
        let read = config(architecture(), 2).unwrap();
        assert_eq!((read.environment.len(), read.entrypoint.len()), (1, 1));
        assert!(config("mips64le", 2).unwrap_err().contains("is for linux/mips64le"));
        assert!(config("", 2).is_err());
        assert!(config(architecture(), 3).unwrap_err().contains("2 layers"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in any::<Vec<u8>>(), layers in 0..3usize) {
            let _ = read_document(&bytes);
            let _ = read_config(&bytes, layers);
        }
    }
}
