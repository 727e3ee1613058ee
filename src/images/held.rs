//! The images of a generation, and how they differ from those of another one.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::Serialize;

use super::Pinned;
use crate::fleet::Asset;
use crate::profile::agent::AGENT_PROFILE;
use crate::profile::agent::AgentProfile;
use crate::profile::agent::IMAGE_INDEX;
use crate::profile::agent::image_blob;
use crate::profile::oci::Document;
use crate::profile::oci::Index;
use crate::profile::oci::MAX_DOCUMENT;
use crate::profile::reference::Digest;
use crate::profile::reference::Reference;

/// An image of a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldImage {
    /// As `gateway.toml` has it.
    pub reference: String,
    pub digest: Digest,
    /// Sizes of its configuration and layers; `None` if only its digest is known.
    pub parts: Option<BTreeMap<Digest, u64>>,
}

impl From<&Pinned> for HeldImage {
    fn from(image: &Pinned) -> Self {
        Self {
            reference: image.reference.to_string(),
            digest: image.digest,
            parts: Some(image.manifest.parts()),
        }
    }
}

/// The images of a generation with these files, those that are only pinned too. `read` gives the
/// bytes of a file; what cannot be read is left out.
pub fn held(
    files: &BTreeMap<String, Asset>,
    read: &dyn Fn(&Asset) -> Option<Vec<u8>>,
) -> Vec<HeldImage> {
    let read = |path: &str| files.get(path).filter(|a| a.size <= MAX_DOCUMENT).and_then(read);
    let mut found = BTreeMap::new();
    let profile = read(AGENT_PROFILE).and_then(|text| serde_json::from_slice(&text).ok());
    for container in profile.into_iter().flat_map(|profile: AgentProfile| profile.containers) {
        let digest = container.image.digest.and_then(|digest| digest.parse().ok());
        found.extend(digest.map(|digest| (container.image.reference, digest)));
    }
    let index = read(IMAGE_INDEX).and_then(|text| serde_json::from_slice(&text).ok());
    for image in index.into_iter().flat_map(|index: Index| index.manifests) {
        found.extend(image.ref_name().map(|name| (name.to_owned(), image.digest)));
    }
    let parts = |digest: Digest| match Document::parse(&read(&image_blob(digest))?, None) {
        Ok(Document::Manifest(manifest)) => Some(manifest.parts()),
        Ok(Document::Index(_)) | Err(_) => None,
    };
    let image = |(reference, digest)| HeldImage { reference, digest, parts: parts(digest) };
    found.into_iter().map(image).collect()
}

/// An image that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// `None` if it is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Named>,
    /// `None` if it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Named>,
    /// Bytes of the new image; `None` if they are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Of them, those that no image before had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<u64>,
}

/// Name and digest of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    pub reference: String,
    pub digest: Digest,
}

impl Named {
    fn of(image: &HeldImage) -> Self {
        Self { reference: image.reference.clone(), digest: image.digest }
    }

    /// Name without the tag, and the tag.
    fn parts(&self) -> (String, String) {
        match self.reference.parse::<Reference>() {
            Ok(reference) => (reference.repository(), reference.tag()),
            Err(_) => (self.reference.clone(), String::new()),
        }
    }
}

/// The images that differ, in the order of their names.
pub fn changes(before: &[HeldImage], after: &[HeldImage]) -> Vec<Change> {
    let known: BTreeMap<Digest, u64> = before
        .iter()
        .flat_map(|image| image.parts.iter().flatten())
        .map(|(d, s)| (*d, *s))
        .collect();
    let mut left: Vec<&HeldImage> = before.iter().collect();
    let mut take = |fits: &dyn Fn(&HeldImage) -> bool| {
        let at = left.iter().position(|image| fits(image))?;
        Some(left.remove(at))
    };
    let same: Vec<_> =
        after.iter().map(|new| take(&|old| old.reference == new.reference)).collect();
    let repository = |image: &HeldImage| Named::of(image).parts().0;
    let pairs: Vec<_> = after
        .iter()
        .zip(same)
        .map(|(new, same)| (same.or_else(|| take(&|old| repository(old) == repository(new))), new))
        .collect();
    let mut found = Vec::new();
    for (old, new) in pairs {
        let unchanged =
            |old: &HeldImage| old.reference == new.reference && old.digest == new.digest;
        if old.is_some_and(unchanged) {
            continue;
        }
        let parts = new.parts.as_ref();
        let fresh = |parts: &BTreeMap<Digest, u64>| {
            parts.iter().filter(|(part, _)| !known.contains_key(part)).map(|(_, size)| size).sum()
        };
        found.push(Change {
            before: old.map(Named::of),
            after: Some(Named::of(new)),
            size: parts.map(|parts| parts.values().sum()),
            new: parts.map(fresh),
        });
    }
    let gone = left.into_iter();
    found.extend(gone.map(|old| Change {
        before: Some(Named::of(old)),
        after: None,
        size: None,
        new: None,
    }));
    let key = |change: &Change| change.after.as_ref().or(change.before.as_ref()).map(Named::parts);
    found.sort_by_cached_key(key);
    found
}

/// One line without its end.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = |image: &Named| match image.parts().1 {
            tag if tag.is_empty() => image.digest.short(),
            tag => format!("{tag} ({})", image.digest.short()),
        };
        match (&self.before, &self.after) {
            (None, None) => return Ok(()),
            (Some(old), None) => write!(f, "image {} removed", old.reference)?,
            (None, Some(new)) => {
                write!(f, "image {} added ({})", new.reference, new.digest.short())?;
            }
            (Some(old), Some(new)) => {
                let (name, _) = new.parts();
                write!(f, "image {name} changed from {} to {}", version(old), version(new))?;
            }
        }
        match (self.new, self.size) {
            (Some(new), Some(size)) => write!(f, ", {}", part_of(new, size)),
            _ => Ok(()),
        }
    }
}

/// The new part of an image.
fn part_of(new: u64, size: u64) -> String {
    let (unit, name) = if size < 1_000_000 { (1000, "kB") } else { (1_000_000, "MB") };
    // Something is never nothing.
    format!("{} of {} {name} new", new.div_ceil(unit), size.div_ceil(unit))
}
