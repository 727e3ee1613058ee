//! Makes images ready: fetches what is missing, and unpacks it.

use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;

use super::error::Error;
use super::error::Result;
use super::source::Source;
use super::store::LayerRecord;
use super::store::Store;
use super::unpack;
use super::unpack::Flaw;
use super::unpack::Limits;
use crate::foreign::Foreign;
use crate::profile::oci::Descriptor;
use crate::profile::oci::Document;
use crate::profile::oci::ImageConfig;
use crate::profile::oci::Manifest;
use crate::profile::oci::Unsuitable;
use crate::profile::reference::Digest;

/// An image that a boot wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name, for messages.
    pub reference: String,
    /// Digest of its manifest.
    pub digest: Digest,
}

/// An image whose layers are on the drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    pub reference: Foreign,
    pub digest: Digest,
    /// From the bottom up, each once.
    pub layers: Vec<Digest>,
    pub config: ImageConfig,
    /// Bytes of layers that came over the network.
    pub fetched: u64,
    /// Bytes of layers that were on the drive.
    pub reused: u64,
}

/// Progress of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of layers that the image has.
    pub size: u64,
    pub fetched: u64,
    pub reused: u64,
    /// Fetched bytes that were unpacked.
    pub unpacked: u64,
}

/// One image in the making.
pub(super) struct Job<'a> {
    pub reference: Foreign,
    pub source: &'a dyn Source,
    progress: &'a (dyn Fn(Progress) + Sync),
    size: AtomicU64,
    pub fetched: AtomicU64,
    pub reused: AtomicU64,
    unpacked: AtomicU64,
    pub stopped: AtomicBool,
}

impl Job<'_> {
    pub(super) fn tell(&self) {
        (self.progress)(Progress {
            size: self.size.load(Ordering::Relaxed),
            fetched: self.fetched.load(Ordering::Relaxed),
            reused: self.reused.load(Ordering::Relaxed),
            unpacked: self.unpacked.load(Ordering::Relaxed),
        });
    }
}

impl Store {
    /// Makes an image ready. `progress` is called often, from more than one thread.
    pub fn ensure(
        &self,
        wanted: &Wanted,
        source: &dyn Source,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Ready> {
        self.used().insert(wanted.digest);
        let job = || Job {
            reference: Foreign::new(&wanted.reference),
            source,
            progress,
            size: AtomicU64::new(0),
            fetched: AtomicU64::new(0),
            reused: AtomicU64::new(0),
            unpacked: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        };
        let result = match self.make_ready(&job(), &wanted.digest) {
            Err(error) if error.is_full() && !self.read_only => {
                tracing::warn!("{error}");
                let collected = self.make_room()?;
                tracing::info!("removed {} layers, {} bytes", collected.layers, collected.bytes);
                self.make_ready(&job(), &wanted.digest)
            }
            result => result,
        };
        match result {
            Err(Error::Full { what, .. }) => {
                // What was fetched in vain would be missing to the containers of the last good one.
                for path in self.listing("fetch")? {
                    self.remove(&path)?;
                }
                Err(Error::Full { what, free: self.room()?.free >> 20 })
            }
            result => result,
        }
    }

    fn make_ready(&self, job: &Job<'_>, digest: &Digest) -> Result<Ready> {
        let manifest = self.manifest(job, digest)?;
        let config = self.document(job, "configuration", &manifest.config.digest)?;
        let config = ImageConfig::parse(&config, &manifest);
        let config = config.map_err(|why| image(job, digest, why))?;
        let mut missing = Vec::new();
        let (mut seen, mut layers) = (BTreeSet::new(), Vec::new());
        // Of layers that are there twice the upper one says everything that the lower one says, and
        // overlayfs takes each directory once.
        for layer in manifest.layers.iter().rev().filter(|layer| seen.insert(layer.digest)) {
            layers.push(layer.digest);
            job.size.fetch_add(layer.size, Ordering::Relaxed);
            if self.layer_record(&layer.digest)?.is_some() {
                job.reused.fetch_add(layer.size, Ordering::Relaxed);
            } else {
                missing.push(layer);
            }
        }
        layers.reverse();
        missing.reverse();
        job.tell();
        if !missing.is_empty() {
            self.bring(job, &missing)?;
        }
        Ok(Ready {
            reference: job.reference.clone(),
            digest: *digest,
            layers,
            config,
            fetched: job.fetched.load(Ordering::Relaxed),
            reused: job.reused.load(Ordering::Relaxed),
        })
    }

    fn manifest(&self, job: &Job<'_>, digest: &Digest) -> Result<Manifest> {
        let read = |digest: &Digest| {
            let bytes = self.document(job, "manifest", digest)?;
            Document::parse(&bytes, None).map_err(|why| image(job, digest, why))
        };
        let index = match read(digest)? {
            Document::Manifest(manifest) => return Ok(manifest),
            Document::Index(index) => index,
        };
        let ours = index.variant().map_err(|why| image(job, digest, why))?;
        match read(&ours.digest)? {
            Document::Manifest(manifest) => Ok(manifest),
            Document::Index(_) => Err(image(job, digest, Unsuitable::Nested)),
        }
    }

    /// Fetches layers, and unpacks each while the next is fetched.
    fn bring(&self, job: &Job<'_>, missing: &[&Descriptor]) -> Result<()> {
        if self.read_only {
            let what = format!("{} is not on it yet", job.reference);
            return Err(Error::ReadOnly { what });
        }
        let bytes: u64 = missing.iter().map(|layer| layer.size).sum();
        let there: u64 = missing.iter().map(|layer| self.fetched_bytes(&layer.digest)).sum();
        if bytes.saturating_sub(there) > self.room()?.free {
            let what = format!("the layers of {} have {} MB", job.reference, bytes >> 20);
            return Err(Error::Full { what, free: 0 });
        }
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel(1);
            scope.spawn(move || {
                for layer in missing.iter().copied() {
                    let result = self.fetch(job, layer);
                    let failed = result.is_err();
                    if sender.send(result.map(|()| layer)).is_err() || failed {
                        break;
                    }
                }
            });
            let unpack = || receiver.iter().try_for_each(|layer| self.unpack(job, layer?));
            let result = unpack();
            job.stopped.store(true, Ordering::Relaxed);
            // Whoever waits to send must not wait for ever.
            drop(receiver);
            result
        })
    }

    fn fetched_bytes(&self, digest: &Digest) -> u64 {
        self.fetched(digest).metadata().map_or(0, |meta| meta.len())
    }

    /// Unpacks a fetched layer, and makes it count once it is on the disk.
    fn unpack(&self, job: &Job<'_>, layer: &Descriptor) -> Result<()> {
        let work = self.work(&layer.digest.hex());
        self.remove(&work)?;
        self.step("create", &work)?;
        let result = self.unpack_into(job, layer, &work);
        // What cannot be removed now is removed when the store is opened.
        if result.is_err() {
            let _ = self.remove(&work);
        }
        if matches!(result, Err(Error::Layer { .. })) {
            let _ = self.remove(&self.fetched(&layer.digest));
        }
        result
    }

    fn unpack_into(&self, job: &Job<'_>, layer: &Descriptor, work: &Path) -> Result<()> {
        let (packed, tree) = (self.fetched(&layer.digest), work.join("fs"));
        fs::create_dir_all(&tree).map_err(|error| Error::drive("create", work, error))?;
        let file = File::open(&packed).map_err(|error| Error::drive("open", &packed, error))?;
        let directory = File::open(&tree).map_err(|error| Error::drive("open", &tree, error))?;
        let limits =
            Limits { entries: unpack::MAX_ENTRIES, bytes: self.room()?.size, leave: self.leave()? };
        let counted = Counted { file, job };
        let unpacked = unpack::unpack(counted, directory.as_fd(), &limits, &*self.steps);
        let unpacked = unpacked.map_err(|flaw| match flaw {
            Flaw::Bad(why) => {
                Error::Layer { reference: job.reference.clone(), digest: layer.digest, why }
            }
            Flaw::Full => {
                let what = format!("layer {} of {} does not fit", layer.digest, job.reference);
                Error::Full { what, free: 0 }
            }
            Flaw::Drive { what, source } => Error::drive(what, &tree, source),
        })?;
        if !unpacked.implicit.is_empty() {
            let path = work.join("implicit");
            let list = unpacked.implicit.join(&0);
            fs::write(&path, list).map_err(|error| Error::drive("write", &path, error))?;
        }
        let record = LayerRecord {
            size: layer.size,
            bytes: unpacked.bytes,
            entries: unpacked.entries,
            root: unpacked.root,
            opaque: unpacked.opaque,
        };
        let path = work.join("layer.json");
        self.step("write", &path)?;
        let record = serde_json::to_vec(&record).unwrap_or_default();
        fs::write(&path, record).map_err(|error| Error::drive("write", &path, error))?;
        self.sync_all(&directory)?;
        let target = self.layer(&layer.digest);
        self.step("rename", &target)?;
        fs::rename(work, &target).map_err(|error| Error::drive("create", &target, error))?;
        self.sync_directory(&self.root.join("layers"))?;
        self.remove(&packed)
    }
}

/// Counts what is unpacked.
struct Counted<'a, 'j> {
    file: File,
    job: &'a Job<'j>,
}

impl Read for Counted<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.job.unpacked.fetch_add(read as u64, Ordering::Relaxed);
        self.job.tell();
        Ok(read)
    }
}

fn image(job: &Job<'_>, digest: &Digest, why: Unsuitable) -> Error {
    Error::Image { reference: job.reference.clone(), digest: *digest, why }
}
