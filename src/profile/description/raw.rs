//! The keys of `gateway.toml`, before their values are looked at.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::de;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde::de::value::MapAccessDeserializer;
use toml::Spanned;

use crate::profile::download::RawDownload;

pub(super) const AGENT: &str = "agent";
pub(super) const BOOT2CONTAINER: &str = "boot2container";

pub(super) type Text = Spanned<String>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Raw {
    pub(super) runtime: Option<Text>,
    pub(super) ntp: Option<Text>,
    pub(super) kernel: RawKernel,
    pub(super) agent: Option<Spanned<RawAgent>>,
    pub(super) boot2container: Option<Spanned<RawBoot2container>>,
    pub(super) cache: Option<Spanned<RawCache>>,
    pub(super) registry: BTreeMap<Text, RawRegistry>,
    pub(super) volume: BTreeMap<Text, RawVolume>,
    pub(super) container: Vec<Spanned<RawContainer>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawKernel {
    pub(super) image: Option<Spanned<RawFile>>,
    pub(super) modules: Option<Spanned<RawFile>>,
    pub(super) cmdline: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawAgent {
    pub(super) initramfs: Option<Spanned<RawFile>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawBoot2container {
    pub(super) version: Option<Text>,
    pub(super) initramfs: Option<Spanned<RawFile>>,
    pub(super) ca: Option<Text>,
    pub(super) acknowledge: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawCache {
    pub(super) label: Option<Text>,
    pub(super) device: Option<Text>,
    pub(super) format: Option<Text>,
    pub(super) swap: Option<Text>,
    pub(super) missing: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawRegistry {
    pub(super) ca: Option<Text>,
    pub(super) credentials: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawVolume {
    pub(super) bucket: Option<Spanned<bool>>,
    pub(super) pull: Option<Text>,
    pub(super) push: Option<Text>,
    pub(super) delete_remote: Option<Spanned<bool>>,
    pub(super) encrypt: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawContainer {
    pub(super) name: Option<Text>,
    pub(super) image: Option<Text>,
    pub(super) hold: Option<Spanned<bool>>,
    pub(super) entrypoint: Option<Vec<Text>>,
    pub(super) command: Option<Vec<Text>>,
    pub(super) environment: BTreeMap<Text, Text>,
    pub(super) mounts: Vec<Text>,
    pub(super) privileged: Option<Spanned<bool>>,
    pub(super) network: Option<Text>,
    pub(super) health: Option<Text>,
    pub(super) restart: Option<Text>,
}

/// A file of the folder, or one by URL.
#[derive(Debug)]
pub(super) enum RawFile {
    Name(String),
    Download(RawDownload),
}

// An untagged enum would lose the places of its values.
impl<'de> Deserialize<'de> for RawFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FileVisitor)
    }
}

struct FileVisitor;

impl<'de> Visitor<'de> for FileVisitor {
    type Value = RawFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a file, or { url = \"https://...\", sha256 = \"...\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<RawFile, E> {
        Ok(RawFile::Name(text.to_owned()))
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<RawFile, M::Error> {
        RawDownload::deserialize(MapAccessDeserializer::new(map)).map(RawFile::Download)
    }
}
