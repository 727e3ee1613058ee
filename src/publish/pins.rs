//! Images of a description: which digest each name means now, and their layers as blobs. Network,
//! the folder that is published, and the state's blobs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::Context;
use anyhow::Result;

use crate::config;
use crate::fleet::Asset;
use crate::images::Files;
use crate::images::ImageError;
use crate::images::Images;
use crate::images::Pinned;
use crate::images::Registry;
use crate::images::store_layout;
use crate::profile::description::Description;
use crate::profile::description::WantedImage;
use crate::profile::reference::Reference;
use crate::store::blobs::Blobs;

/// The images of a description, and how to speak to their registries.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub images: Vec<WantedImage>,
    pub registries: BTreeMap<String, Registry>,
}

impl Wanted {
    /// The images of a description. `texts` are the text files beside it, and `secrets` the
    /// operator's secrets, if they are known here.
    pub(super) fn of(
        description: &Description,
        texts: &BTreeMap<String, String>,
        secrets: Option<&[u8]>,
    ) -> Self {
        let registries = description.registries(texts, secrets).into_iter();
        let registries = registries.map(|(host, registry)| {
            let ca = registry.ca.map(String::into_bytes);
            // One that is malformed is a problem of the description.
            let credentials = registry.credentials.and_then(|text| text.parse().ok());
            (host, Registry { ca, credentials })
        });
        Self { images: description.images().collect(), registries: registries.collect() }
    }
}

/// The images of a description by their digests.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// All that could be resolved.
    pub all: Vec<Pinned>,
    /// Those of them that the boot host keeps.
    pub held: Vec<Pinned>,
    /// Digests by the names that are written.
    pub pins: BTreeMap<String, String>,
    /// Reasons why others could not be resolved now, a line each.
    pub missing: Vec<String>,
}

/// Asks registries, each about an image once: what a name means must not change between two
/// gateways of one fleet.
pub struct Resolver {
    max_size: u64,
    asked: RefCell<Vec<Asked>>,
}

/// Answers to questions with the same settings of registries.
struct Asked {
    registries: BTreeMap<String, Registry>,
    images: Rc<Images>,
    known: Known,
}

type Known = Rc<RefCell<BTreeMap<Reference, Pinned>>>;

impl Resolver {
    /// Within the limits of `[images]`.
    pub fn new(config: &config::Images) -> Self {
        Self { max_size: config.max_size.bytes(), asked: RefCell::default() }
    }

    /// Finds the digests of all images. If a registry cannot be asked now, that is an error.
    pub fn resolve(&self, wanted: &Wanted, files: &dyn Files) -> Result<Resolved> {
        self.each(wanted, files, &mut |_, error| Err(error.into()))
    }

    /// The same, but images of registries that cannot be asked now are left out.
    pub fn resolve_what_can_be(&self, wanted: &Wanted, files: &dyn Files) -> Result<Resolved> {
        self.each(wanted, files, &mut |missing, error| match error.is_out_of_reach() {
            true => {
                missing.push(format!("image not resolved: {error}"));
                Ok(())
            }
            false => Err(error.into()),
        })
    }

    fn each(
        &self,
        wanted: &Wanted,
        files: &dyn Files,
        failed: &mut dyn FnMut(&mut Vec<String>, ImageError) -> Result<()>,
    ) -> Result<Resolved> {
        let mut resolved = Resolved::default();
        for image in &wanted.images {
            let pinned = match self.one(wanted, &image.reference, files)? {
                Ok(pinned) => pinned,
                Err(error) => {
                    failed(&mut resolved.missing, error)?;
                    continue;
                }
            };
            resolved.pins.insert(image.text.clone(), pinned.digest.to_string());
            let is_new = |all: &[Pinned]| all.iter().all(|p| p.reference != pinned.reference);
            if image.hold && is_new(&resolved.held) {
                resolved.held.push(pinned.clone());
            }
            if is_new(&resolved.all) {
                resolved.all.push(pinned);
            }
        }
        Ok(resolved)
    }

    fn one(
        &self,
        wanted: &Wanted,
        reference: &Reference,
        files: &dyn Files,
    ) -> Result<Result<Pinned, ImageError>> {
        let (images, known) = self.asked(wanted)?;
        // Another folder may have another image at the same path.
        let is_local = reference.registry().is_none();
        if let Some(pinned) = known.borrow().get(reference).filter(|_| !is_local) {
            return Ok(Ok(pinned.clone()));
        }
        let pinned = images.resolve(reference, files);
        if let Ok(pinned) = &pinned {
            known.borrow_mut().insert(reference.clone(), pinned.clone());
        }
        Ok(pinned)
    }

    /// Fetches what is to be held, and returns the files of a generation that it becomes.
    /// `progress` gets the number of bytes that came.
    pub fn hold(
        &self,
        wanted: &Wanted,
        resolved: &Resolved,
        files: &dyn Files,
        blobs: &Blobs,
        progress: &dyn Fn(u64),
    ) -> Result<BTreeMap<String, Asset>> {
        if resolved.held.is_empty() {
            return Ok(BTreeMap::new());
        }
        let (images, _) = self.asked(wanted)?;
        for image in &resolved.held {
            images.hold(image, files, blobs, progress)?;
        }
        store_layout(&resolved.held, blobs)
    }

    fn asked(&self, wanted: &Wanted) -> Result<(Rc<Images>, Known)> {
        let mut all = self.asked.borrow_mut();
        let found = all.iter().find(|asked| asked.registries == wanted.registries);
        if let Some(Asked { images, known, .. }) = found {
            return Ok((images.clone(), known.clone()));
        }
        let registries = wanted.registries.clone();
        let images =
            Images::new(registries.clone(), self.max_size).context("cannot ask registries")?;
        let (images, known) = (Rc::new(images), Rc::default());
        all.push(Asked { registries, images: Rc::clone(&images), known: Rc::clone(&known) });
        Ok((images, known))
    }
}
