//! Fetches manifests, configurations and layers, and checks their digests. A layer that was cut is
//! fetched on from where it was cut, in the next boot too.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::fs::OFlags;
use sha2::Digest as _;
use sha2::Sha256;

use super::ensure::Job;
use super::error::Error;
use super::error::Result;
use super::source::Body;
use super::source::SourceError;
use super::store::Store;
use crate::backoff::Backoff;
use crate::backoff::jitter;
use crate::profile::oci::Descriptor;
use crate::profile::oci::MAX_DOCUMENT;
use crate::profile::reference::Digest;

/// Waits between tries.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
/// Tries in a row that bring nothing: about two minutes. Then the boot fails, and the gateway
/// restarts.
const TRIES: u32 = 8;
/// The longest time that a source may ask to be left alone.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

const CHUNK: usize = 128 * 1024;

/// Tries so far that brought nothing.
#[derive(Default)]
struct Patience(u32);

impl Store {
    /// A manifest or configuration: from the drive, or else from the source.
    pub(super) fn document(
        &self,
        job: &Job<'_>,
        what: &'static str,
        digest: &Digest,
    ) -> Result<Vec<u8>> {
        if let Some(bytes) = self.stored(digest)? {
            return Ok(bytes);
        }
        let mut patience = Patience::default();
        let bytes = loop {
            let bytes = match what {
                "manifest" => job.source.manifest(digest),
                _ => job.source.blob(digest, 0).and_then(read_document),
            };
            match bytes {
                Ok(bytes) => break bytes,
                Err(source) => {
                    patience.or_give_up(self, source).map_err(|source| Error::Source {
                        reference: job.reference.clone(),
                        what,
                        digest: *digest,
                        source,
                    })?
                }
            }
        };
        let found = Digest::of(&bytes);
        if found != *digest {
            let why = format!("it has digest {found}");
            return Err(Error::Wrong {
                reference: job.reference.clone(),
                what,
                digest: *digest,
                why,
            });
        }
        if !self.read_only {
            let path = self.root.join("blobs").join(digest.hex());
            self.spend_reserve(|| self.write(&path, &bytes))?;
        }
        Ok(bytes)
    }

    /// Fetches a layer to `fetch`, and checks it.
    pub(super) fn fetch(&self, job: &Job<'_>, layer: &Descriptor) -> Result<()> {
        let path = self.fetched(&layer.digest);
        let mut part = Part::open(self, path, layer)?;
        let mut resumed = part.length;
        job.reused.fetch_add(resumed, Ordering::Relaxed);
        loop {
            self.complete(job, layer, &mut part)?;
            let found = Digest::from(std::mem::take(&mut part.hasher));
            if found == layer.digest {
                return Ok(());
            }
            if resumed == 0 {
                self.remove(&part.path)?;
                return Err(Error::Wrong {
                    reference: job.reference.clone(),
                    what: "layer",
                    digest: layer.digest,
                    why: format!("it has digest {found}"),
                });
            }
            // After a power cut the part on the drive may be another than what was written.
            job.reused.fetch_sub(resumed, Ordering::Relaxed);
            resumed = 0;
            part.restart(self)?;
        }
    }

    /// Fetches until the part is as long as the layer.
    fn complete(&self, job: &Job<'_>, layer: &Descriptor, part: &mut Part) -> Result<()> {
        let fail = |source| Error::Source {
            reference: job.reference.clone(),
            what: "layer",
            digest: layer.digest,
            source,
        };
        let mut patience = Patience::default();
        let mut longest = part.length;
        while part.length < layer.size {
            let error = match job.source.blob(&layer.digest, part.length) {
                Ok(body) => match self.receive(job, layer, part, body)? {
                    Some(error) => error,
                    None => continue,
                },
                Err(error) => error,
            };
            // A source that always breaks off at the same place brings nothing.
            if part.length > longest {
                longest = part.length;
                patience = Patience::default();
            }
            if job.stopped.load(Ordering::Relaxed) {
                return Err(fail(error));
            }
            patience.or_give_up(self, error).map_err(fail)?;
        }
        Ok(())
    }

    /// Takes what comes; why it ended too early.
    fn receive(
        &self,
        job: &Job<'_>,
        layer: &Descriptor,
        part: &mut Part,
        mut body: Body,
    ) -> Result<Option<SourceError>> {
        if body.from != part.length {
            if body.from != 0 {
                let why = format!("bytes from {} on came instead of {}", body.from, part.length);
                return Ok(Some(SourceError::Failed(why)));
            }
            part.restart(self)?;
        }
        let mut buffer = vec![0; CHUNK];
        while part.length < layer.size {
            let most = (layer.size - part.length).min(CHUNK as u64) as usize;
            let read = match body.bytes.read(&mut buffer[..most]) {
                Ok(0) => {
                    let why = format!("it ended after {} of {} bytes", part.length, layer.size);
                    return Ok(Some(SourceError::Away { why, retry_after: None }));
                }
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    let why = format!("it broke off after {} bytes: {error}", part.length);
                    return Ok(Some(SourceError::Away { why, retry_after: None }));
                }
            };
            part.add(self, &buffer[..read])?;
            job.fetched.fetch_add(read as u64, Ordering::Relaxed);
            job.tell();
            if job.stopped.load(Ordering::Relaxed) {
                let why = "the image failed".to_owned();
                return Ok(Some(SourceError::Failed(why)));
            }
        }
        Ok(None)
    }
}

impl Patience {
    /// Waits for another try, unless none helps.
    fn or_give_up(&mut self, store: &Store, error: SourceError) -> Result<(), SourceError> {
        let SourceError::Away { retry_after, .. } = &error else { return Err(error) };
        self.0 += 1;
        if self.0 >= TRIES {
            return Err(error);
        }
        let wait = BACKOFF.wait(self.0 - 1, *retry_after, jitter()).min(LONGEST_WAIT);
        tracing::warn!("{error}; trying again in {} s", wait.as_secs());
        (store.pause)(wait);
        Ok(())
    }
}

/// A configuration, as long as one may be.
fn read_document(body: Body) -> Result<Vec<u8>, SourceError> {
    let mut bytes = Vec::new();
    body.bytes.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes).map_err(|error| {
        SourceError::Away { why: format!("it broke off: {error}"), retry_after: None }
    })?;
    if bytes.len() as u64 > MAX_DOCUMENT || body.from != 0 {
        return Err(SourceError::Failed("the answer is not what was asked for".to_owned()));
    }
    Ok(bytes)
}

/// The bytes that there are of a layer.
struct Part {
    path: PathBuf,
    file: File,
    length: u64,
    /// Of the first `length` bytes.
    hasher: Sha256,
}

impl Part {
    fn open(store: &Store, path: PathBuf, layer: &Descriptor) -> Result<Self> {
        store.step("create", &path)?;
        let file = create(&path).map_err(|error| Error::drive("create", &path, error))?;
        let mut part = Self { path, file, length: 0, hasher: Sha256::new() };
        let mut buffer = vec![0; CHUNK];
        loop {
            match part.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    part.hasher.update(&buffer[..read]);
                    part.length += read as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    // It lies on a bad place of the drive. Let it lie there, and use another.
                    tracing::warn!("cannot read {}: {error}", part.path.display());
                    store.discard(&part.path)?;
                    let file = create(&part.path);
                    part.file = file.map_err(|e| Error::drive("create", &part.path, e))?;
                    (part.length, part.hasher) = (0, Sha256::new());
                    break;
                }
            }
        }
        if part.length > layer.size {
            part.restart(store)?;
        }
        Ok(part)
    }

    fn restart(&mut self, store: &Store) -> Result<()> {
        store.step("write", &self.path)?;
        let empty = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        empty.map_err(|error| Error::drive("write", &self.path, error))?;
        (self.length, self.hasher) = (0, Sha256::new());
        Ok(())
    }

    fn add(&mut self, store: &Store, bytes: &[u8]) -> Result<()> {
        store.step("write", &self.path)?;
        self.file.write_all(bytes).map_err(|error| Error::drive("write", &self.path, error))?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }
}

fn create(path: &Path) -> io::Result<File> {
    let nofollow = OFlags::NOFOLLOW.bits() as i32;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).custom_flags(nofollow).open(path)
}
