//! Archives of `docker save` and `podman save`: an image layout within a tar file, or the older
//! format with `manifest.json`
//! (<https://github.com/moby/moby/blob/v28.0.0/image/spec/v1.2.md#combined-image-json--filesystem-changeset-format>).

use std::collections::BTreeMap;
use std::io;
use std::io::Read;

use serde::Deserialize;
use sha2::Digest as _;
use sha2::Sha256;

use super::Files;
use super::error::Why;
use super::local::Converted;
use super::local::Local;
use super::local::Members;
use super::local::is_name;
use super::local::list;
use super::tar_file::Tar;
use crate::profile::oci::Descriptor;
use crate::profile::oci::MAX_DOCUMENT;
use crate::profile::oci::Manifest;
use crate::profile::oci::OCI_CONFIG;
use crate::profile::oci::Packing;
use crate::profile::reference::Digest;
use crate::profile::reference::LocalReference;

/// Opens the image of an archive.
pub(super) fn open<'a>(
    files: &'a dyn Files,
    reference: &'a LocalReference,
) -> Result<Local<'a>, Why> {
    let tar = Tar::open_archive(files, &reference.path)?;
    let is_layout = tar.has("oci-layout") && tar.has("index.json");
    if !is_layout && !tar.has("manifest.json") {
        let what = "no archive of `docker save`: neither manifest.json nor index.json is in it";
        return Err(Why::NoImage { path: reference.path.clone(), what });
    }
    let members = Members::Tar(tar);
    if is_layout {
        return Ok(Local::new(members, reference));
    }
    let converted = convert(&members, reference)?;
    Ok(Local::converted(members, reference, converted))
}

/// An image of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Saved {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.repo_tags.iter().flatten().map(String::as_str)
    }
}

/// Makes an OCI manifest: the same for the same archive, so that nothing is fetched twice.
fn convert(members: &Members<'_>, reference: &LocalReference) -> Result<Converted, Why> {
    let path = reference.path.clone();
    let (bytes, _) = members.read("manifest.json", MAX_DOCUMENT)?;
    let saved: Vec<Saved> = serde_json::from_slice(&bytes).map_err(|_| {
        let what = "an archive whose manifest.json is not that of `docker save`";
        Why::NoImage { path: path.clone(), what }
    })?;
    let there = || list(saved.iter().flat_map(Saved::names));
    let image = match (&reference.image, &saved[..]) {
        (None, [image]) => image,
        (None, _) => return Err(Why::SeveralImages { path, there: there() }),
        (Some(wanted), _) => {
            let named = |image: &&Saved| image.names().any(|name| is_name(name, wanted));
            saved.iter().find(named).ok_or_else(|| Why::NoSuchImage {
                path,
                wanted: wanted.as_str().into(),
                there: there(),
            })?
        }
    };
    let mut names = BTreeMap::new();
    let (config, _) = members.read(&image.config, MAX_DOCUMENT)?;
    let descriptor = |media_type: &str, digest, size| Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
        platform: None,
        annotations: None,
    };
    let config = descriptor(OCI_CONFIG, Digest::of(&config), config.len() as u64);
    names.insert(config.digest, image.config.clone());
    let mut layers = Vec::new();
    for name in &image.layers {
        let (from, path) = members.open(name)?;
        let (packing, digest, size) =
            look(from).map_err(|error| Why::Unreadable { path, error })?;
        names.insert(digest, name.clone());
        layers.push(descriptor(packing.media_type(), digest, size));
    }
    // A structure of plain fields always has a JSON text.
    let manifest = serde_json::to_vec(&Manifest::new(config, layers)).map_err(io::Error::other);
    Ok(Converted { manifest: manifest.map_err(Why::Disk)?, names })
}

/// Packing, digest and size of a layer. `docker save` packs none, other programs do.
fn look(mut from: impl Read) -> io::Result<(Packing, Digest, u64)> {
    let (mut hasher, mut size, mut packing) = (Sha256::new(), 0, Packing::None);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        if size == 0 {
            packing = Packing::of(&buffer[..count]);
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
    Ok((packing, hasher.into(), size))
}
