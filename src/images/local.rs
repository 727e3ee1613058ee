//! Images in files: an OCI image layout, in a directory of the folder or in an archive
//! (<https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md>).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io::Read;

use super::Files;
use super::error::Why;
use super::tar_file::Tar;
use crate::foreign::Foreign;
use crate::profile::oci::Descriptor;
use crate::profile::oci::Index;
use crate::profile::oci::MAX_DOCUMENT;
use crate::profile::oci::OCI_MANIFEST;
use crate::profile::reference::Digest;
use crate::profile::reference::LocalReference;

/// Annotation with the whole name of an image, of containerd and docker.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// The files of a layout.
pub(super) enum Members<'a> {
    /// In a directory of the folder.
    Folder { files: &'a dyn Files, path: &'a str },
    /// In an archive.
    Tar(Tar),
}

impl Members<'_> {
    /// Opens a file, and says what it is called in errors.
    pub(super) fn open(&self, name: &str) -> Result<(Box<dyn Read + '_>, String), Why> {
        match self {
            Self::Folder { files, path } => {
                let path = format!("{path}/{name}");
                match files.open(&path) {
                    Ok(file) => Ok((Box::new(file), path)),
                    Err(error) => Err(Why::Unreadable { path, error }),
                }
            }
            Self::Tar(tar) => Ok((Box::new(tar.open(name)?), format!("{name} of {}", tar.path()))),
        }
    }

    /// A file in memory, of at most `max` bytes.
    pub(super) fn read(&self, name: &str, max: u64) -> Result<(Vec<u8>, String), Why> {
        let (from, path) = self.open(name)?;
        let mut bytes = Vec::new();
        match from.take(max + 1).read_to_end(&mut bytes) {
            Err(error) => Err(Why::Unreadable { path, error }),
            Ok(_) if bytes.len() as u64 > max => {
                Err(Why::TooLong { what: Foreign::new(&path), max })
            }
            Ok(_) => Ok((bytes, path)),
        }
    }
}

/// An image that `docker save` wrote in its own format, as an OCI image.
pub(super) struct Converted {
    pub(super) manifest: Vec<u8>,
    /// Names of its parts.
    pub(super) names: BTreeMap<Digest, String>,
}

/// An image in files.
pub(super) struct Local<'a> {
    members: Members<'a>,
    reference: &'a LocalReference,
    converted: Option<Converted>,
}

impl<'a> Local<'a> {
    pub(super) fn new(members: Members<'a>, reference: &'a LocalReference) -> Self {
        Self { members, reference, converted: None }
    }

    pub(super) fn converted(
        members: Members<'a>,
        reference: &'a LocalReference,
        converted: Converted,
    ) -> Self {
        Self { members, reference, converted: Some(converted) }
    }

    /// The manifest or index that the reference names.
    pub(super) fn named(&self) -> Result<(Vec<u8>, Option<String>), Why> {
        if let Some(converted) = &self.converted {
            return Ok((converted.manifest.clone(), Some(OCI_MANIFEST.to_owned())));
        }
        let (bytes, path) = self.members.read("index.json", MAX_DOCUMENT)?;
        let no_index = || Why::NoImage { path: path.clone(), what: "no index of an image layout" };
        let index: Index = serde_json::from_slice(&bytes).map_err(|_| no_index())?;
        let found = choose(&index.manifests, self.reference)?;
        let (bytes, path) = self.small(found.digest, MAX_DOCUMENT)?;
        if Digest::of(&bytes) != found.digest {
            return Err(Why::Damaged(path.into()));
        }
        let media_type = Some(found.media_type.clone()).filter(|text| !text.is_empty());
        Ok((bytes, media_type))
    }

    /// Opens a part, and says what it is called in errors.
    pub(super) fn open(&self, part: Digest) -> Result<(Box<dyn Read + '_>, String), Why> {
        self.members.open(&self.name(part))
    }

    /// A part in memory.
    pub(super) fn small(&self, part: Digest, max: u64) -> Result<(Vec<u8>, String), Why> {
        self.members.read(&self.name(part), max)
    }

    fn name(&self, part: Digest) -> String {
        let converted = self.converted.as_ref().and_then(|image| image.names.get(&part));
        converted.cloned().unwrap_or_else(|| format!("blobs/sha256/{}", part.hex()))
    }
}

/// The image that a reference names.
fn choose<'a>(images: &'a [Descriptor], reference: &LocalReference) -> Result<&'a Descriptor, Why> {
    let names = |image: &'a Descriptor| {
        [image.ref_name(), image.annotation(CONTAINERD_NAME)].into_iter().flatten()
    };
    let digests: BTreeSet<Digest> = images.iter().map(|image| image.digest).collect();
    let found = match &reference.image {
        Some(wanted) => images.iter().find(|image| names(image).any(|name| is_name(name, wanted))),
        None if digests.len() > 1 => {
            let there = list(images.iter().flat_map(names));
            return Err(Why::SeveralImages { path: reference.path.clone(), there });
        }
        None => images.first(),
    };
    found.ok_or_else(|| match &reference.image {
        None => {
            Why::NoImage { path: reference.path.clone(), what: "an image layout without images" }
        }
        Some(wanted) => Why::NoSuchImage {
            path: reference.path.clone(),
            wanted: wanted.as_str().into(),
            there: list(images.iter().flat_map(names)),
        },
    })
}

/// True if `wanted` means the image with this name; docker leaves out its own registry.
pub(super) fn is_name(name: &str, wanted: &str) -> bool {
    let wanted = match wanted.rsplit_once('/').map_or(wanted, |(_, last)| last).contains(':') {
        true => wanted.to_owned(),
        false if name.contains(':') => format!("{wanted}:latest"),
        false => wanted.to_owned(),
    };
    let short = name.strip_prefix("docker.io/").map(|n| n.strip_prefix("library/").unwrap_or(n));
    name == wanted || short == Some(&wanted)
}

pub(super) fn list<'a>(names: impl Iterator<Item = &'a str>) -> Foreign {
    let names: BTreeSet<&str> = names.collect();
    let names = names.into_iter().collect::<Vec<_>>().join(", ");
    Foreign::new(if names.is_empty() { "none with a name" } else { &names })
}
