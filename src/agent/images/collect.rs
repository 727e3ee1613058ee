//! Collects what no image needs that is known good or wanted now.

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use super::error::Error;
use super::error::Result;
use super::kept::Kept;
use super::store::Store;
use super::store::digest_in;
use super::store::read_small;
use crate::profile::oci::Document;
use crate::profile::reference::Digest;

/// The things that a collection removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    pub layers: u64,
    /// Bytes of the files of these layers, and of what had been fetched for others.
    pub bytes: u64,
}

/// The things that the kept images need.
struct Needed {
    digests: BTreeSet<Digest>,
    /// False if an image that is known good cannot be read any more.
    known: bool,
}

impl Store {
    /// Says which images this boot wants. Those of the last good generation stay as well.
    pub fn keep(&self, images: &[Digest]) -> Result<()> {
        self.change_kept(|kept| kept.wanted = images.iter().copied().collect())
    }

    /// Says that the boot host knows these images to be good. Call it when the boot host has
    /// answered: until then it may send the gateway back to the images before.
    pub fn acknowledged(&self, images: &[Digest]) -> Result<()> {
        let images: BTreeSet<_> = images.iter().copied().collect();
        self.change_kept(|kept| *kept = Kept { good: Some(images.clone()), wanted: images })
    }

    /// Removes the layers that no kept image needs.
    pub fn collect(&self) -> Result<Collected> {
        if self.read_only {
            return Ok(Collected::default());
        }
        let needed = self.needed()?;
        if !needed.known {
            tracing::warn!("it is not known which images are good; nothing is collected");
            return Ok(Collected::default());
        }
        self.collect_except(&needed.digests)
    }

    /// Makes room for an image that does not fit: the wanted and the good ones stay. Where it is
    /// not known any more which are good, the wanted ones alone stay.
    pub(super) fn make_room(&self) -> Result<Collected> {
        let needed = self.needed()?;
        if !needed.known {
            tracing::warn!("the drive is full, and it is not known which images are good");
        }
        self.collect_except(&needed.digests)
    }

    pub(super) fn load_kept(&self) -> Result<Kept> {
        let path = self.kept_path();
        let read = read_small(&path).map_err(|error| Error::drive("read", &path, error))?;
        if let Some(kept) = read.as_deref().and_then(|bytes| serde_json::from_slice(bytes).ok()) {
            return Ok(kept);
        }
        let empty = read.is_none() && self.listing("layers").is_ok_and(|layers| layers.is_empty());
        Ok(Kept { good: empty.then(BTreeSet::new), wanted: BTreeSet::new() })
    }

    fn kept_path(&self) -> PathBuf {
        self.root.join("images.json")
    }

    fn change_kept(&self, change: impl FnOnce(&mut Kept)) -> Result<()> {
        let mut kept = self.kept();
        let mut changed = kept.clone();
        change(&mut changed);
        if changed != *kept && !self.read_only {
            // Sets of digests are always JSON.
            let bytes = serde_json::to_vec(&changed).unwrap_or_default();
            self.spend_reserve(|| self.write(&self.kept_path(), &bytes))?;
        }
        *kept = changed;
        Ok(())
    }

    fn needed(&self) -> Result<Needed> {
        let kept = self.kept().clone();
        let mut needed = Needed { digests: BTreeSet::new(), known: kept.good.is_some() };
        for image in kept.good.iter().flatten() {
            needed.known &= self.need(image, &mut needed.digests)?;
        }
        for image in kept.wanted.iter().chain(self.used().iter()) {
            self.need(image, &mut needed.digests)?;
        }
        Ok(needed)
    }

    /// Adds what an image needs; false if that cannot be read.
    fn need(&self, image: &Digest, needed: &mut BTreeSet<Digest>) -> Result<bool> {
        needed.insert(*image);
        let manifest = match self.stored_document(image)? {
            Some(Document::Index(index)) => {
                let Ok(ours) = index.variant() else { return Ok(false) };
                needed.insert(ours.digest);
                self.stored_document(&ours.digest)?
            }
            document => document,
        };
        let Some(Document::Manifest(manifest)) = manifest else { return Ok(false) };
        needed.insert(manifest.config.digest);
        needed.extend(manifest.layers.iter().map(|layer| layer.digest));
        Ok(true)
    }

    fn stored_document(&self, digest: &Digest) -> Result<Option<Document>> {
        let bytes = self.stored(digest)?;
        Ok(bytes.and_then(|bytes| Document::parse(&bytes, None).ok()))
    }

    /// The bytes of a manifest or configuration, if they are on the drive and undamaged.
    pub(super) fn stored(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        let path = self.root.join("blobs").join(digest.hex());
        let bytes = read_small(&path).map_err(|error| Error::drive("read", &path, error))?;
        Ok(bytes.filter(|bytes| Digest::of(bytes) == *digest))
    }

    fn collect_except(&self, needed: &BTreeSet<Digest>) -> Result<Collected> {
        let is_needed =
            |path: &Path| digest_in(path).is_some_and(|digest| needed.contains(&digest));
        let mut collected = Collected::default();
        let mut gone = Vec::new();
        for path in self.listing("layers")?.iter().filter(|path| !is_needed(path)) {
            if let Some(digest) = digest_in(path) {
                let record = self.layer_record(&digest)?;
                collected.bytes += record.map_or(0, |record| record.bytes);
            }
            gone.push(self.discard(path)?);
            collected.layers += 1;
        }
        if !gone.is_empty() {
            // A layer that lost a file must not come back.
            self.sync_directory(&self.root.join("layers"))?;
        }
        for path in gone {
            self.remove(&path)?;
        }
        for name in ["fetch", "blobs"] {
            for path in self.listing(name)?.iter().filter(|path| !is_needed(path)) {
                collected.bytes += path.symlink_metadata().map_or(0, |meta| meta.len());
                self.remove(path)?;
            }
        }
        self.fill_reserve()?;
        Ok(collected)
    }
}
