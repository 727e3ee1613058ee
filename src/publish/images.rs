//! The images that a `gateway.toml` names: found before it is rendered, and held as blobs.
//! Network, the folder, and the state's blobs.

use std::collections::BTreeMap;
use std::collections::HashMap;

use anyhow::Context;
use anyhow::Result;

use crate::fleet::Asset;
use crate::images;
use crate::images::Credentials;
use crate::images::Files;
use crate::images::Images;
use crate::images::Pinned;
use crate::images::Registry;
use crate::profile::description::Description;
use crate::profile::reference::Reference;
use crate::store::blobs::Blobs;

/// The images of a description, and how to speak to their registries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedImages {
    /// Each once, and whether the boot host holds it.
    images: BTreeMap<String, bool>,
    registries: BTreeMap<String, Registry>,
}

impl WantedImages {
    /// `secrets` is the operator's file; `texts` has the certificates. Credentials that only the
    /// boot host's `[secrets] dir` has, or that hold a field of the gateway, are not used here: the
    /// registry then sees nobody in particular.
    pub fn new(
        description: &Description,
        secrets: Option<&[u8]>,
        texts: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let mut images = BTreeMap::new();
        for (text, hold) in description.images() {
            *images.entry(text.to_owned()).or_default() |= hold;
        }
        let mut registries = BTreeMap::new();
        for (host, ca, name) in description.registries() {
            let ca = ca.and_then(|path| texts.get(path)).map(|text| text.clone().into_bytes());
            let value = name.zip(secrets).and_then(|(name, text)| line(text, name));
            let credentials = value.map(|value| value.parse::<Credentials>()).transpose();
            let credentials = credentials.with_context(|| {
                format!("secret {} for the registry {host}", name.unwrap_or_default())
            })?;
            registries.insert(host.to_owned(), Registry { ca, credentials });
        }
        Ok(Self { images, registries })
    }

    /// True if a file of the folder is part of an image, and so none of the generation's own.
    pub fn is_source(&self, path: &str) -> bool {
        let within = |source: &str| {
            path.strip_prefix(source).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.images.keys().any(|text| match text.parse() {
            Ok(Reference::Layout(local) | Reference::Archive(local)) => within(&local.path),
            Ok(Reference::Registry(_)) | Err(_) => false,
        })
    }
}

/// The value of a secret that is the same for all gateways.
fn line<'a>(secrets: &'a [u8], name: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(secrets).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.filter(|value| !value.contains('$'))
}

/// Images that were found.
#[derive(Clone, Debug, Default)]
pub struct FoundImages {
    /// Digests by reference.
    pub pins: BTreeMap<String, String>,
    held: Vec<Pinned>,
}

impl FoundImages {
    /// The files of a generation that are those of its images.
    pub fn files(&self) -> Result<BTreeMap<String, Asset>> {
        images::layout(&self.held)
    }
}

/// Finds and holds images; each is looked up once, however many gateways have it.
pub struct ImageFinder {
    max_size: u64,
    known: Vec<Known>,
}

/// Images of registries that are spoken to in one way.
struct Known {
    registries: BTreeMap<String, Registry>,
    images: Images,
    found: HashMap<String, Pinned>,
}

impl ImageFinder {
    /// Takes images of at most `max_size` bytes.
    pub fn new(max_size: u64) -> Self {
        Self { max_size, known: Vec::new() }
    }

    /// Finds the images of a description.
    pub fn find(&mut self, wanted: &WantedImages, files: &dyn Files) -> Result<FoundImages> {
        let mut found = FoundImages::default();
        for (text, hold) in &wanted.images {
            let reference: Reference = text.parse()?;
            // Nothing is to be looked up: the description has the digest.
            if !*hold && reference.digest().is_some() {
                continue;
            }
            let Known { images, found: cache, .. } = self.of(wanted)?;
            let image = match cache.get(text).filter(|_| reference.registry().is_some()) {
                Some(image) => image.clone(),
                None => images.resolve(&reference, files)?,
            };
            cache.insert(text.clone(), image.clone());
            found.pins.insert(text.clone(), image.digest.to_string());
            if *hold {
                found.held.push(image);
            }
        }
        Ok(found)
    }

    /// Fetches what is not here of the images that are to be held, and returns the files that they
    /// are in a generation.
    pub fn hold(
        &mut self,
        wanted: &WantedImages,
        found: &FoundImages,
        files: &dyn Files,
        blobs: &Blobs,
        progress: &dyn Fn(u64),
    ) -> Result<BTreeMap<String, Asset>> {
        for image in &found.held {
            self.of(wanted)?.images.hold(image, files, blobs, progress)?;
        }
        images::store_layout(&found.held, blobs)
    }

    fn of(&mut self, wanted: &WantedImages) -> Result<&mut Known> {
        let at = self.known.iter().position(|known| known.registries == wanted.registries);
        let at = match at {
            Some(at) => at,
            None => {
                let registries = wanted.registries.clone();
                let images = Images::new(registries.clone(), self.max_size)
                    .context("cannot start to fetch images")?;
                self.known.push(Known { registries, images, found: HashMap::new() });
                self.known.len() - 1
            }
        };
        Ok(&mut self.known[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_all_gateways_is_a_line_without_fields() {
        let secrets = b"# x\nregistry=farm:password=1\nregistry2=a:${gateway_name}\nempty=\n";
        assert_eq!(line(secrets, "registry"), Some("farm:password=1"));
        assert_eq!(line(secrets, "registry2"), None);
        assert_eq!(line(secrets, "reg"), None);
        assert_eq!(line(b"\xff", "registry"), None);
    }
}
