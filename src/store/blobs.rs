//! Blobs: files that are named by the SHA-256 of their bytes and never change. Reads and writes the
//! disk, and asks the clock for access times.
//!
//! There are two trees: `blobs/`, which nginx reads, and `private/`, which the server alone reads.
//! A secret with the bytes of some other gateway's file is kept twice.

mod copy;
mod fault;

use std::collections::HashSet;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use sha2::Digest as _;
use sha2::Sha256;

use super::files;
use super::layout;
use super::stamp::Stamp;
use crate::fleet::Asset;
use crate::fleet::BlobId;
use crate::fleet::SECRETS;
pub use fault::Fault;

/// Precision of access times.
const TOUCHED_EVERY: Duration = Duration::from_secs(60 * 60);

/// Extension of damaged blobs that were set aside.
const ASIDE: &str = "damaged";

/// Visibility of a blob, and so its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Read by nginx for gateways, and so readable by everybody who knows its name.
    Public,
    /// Read by the server alone.
    Private,
}

impl Access {
    /// Visibility of the file at `path` of a generation.
    pub fn to(path: &str) -> Self {
        if path == SECRETS { Self::Private } else { Self::Public }
    }

    /// The folder of the tree, in any store.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Public => layout::BLOBS,
            Self::Private => layout::PRIVATE_BLOBS,
        }
    }

    /// The permissions of that folder.
    pub fn folder_mode(self) -> u32 {
        match self {
            Self::Public => layout::PASSABLE,
            Self::Private => layout::PRIVATE_DIR,
        }
    }

    fn mode(self) -> u32 {
        match self {
            Self::Public => layout::PUBLIC,
            Self::Private => layout::PRIVATE,
        }
    }
}

/// The blobs of one tree.
#[derive(Clone, Debug)]
pub struct Blobs {
    dir: PathBuf,
    access: Access,
    /// The public tree, where earlier versions kept private blobs: they are still read there.
    older: Option<PathBuf>,
    /// Stamps of files whose digest was verified.
    verified: Arc<Mutex<HashSet<(BlobId, Stamp)>>>,
}

impl Blobs {
    /// The blobs of `store` with this visibility.
    pub fn new(store: &Path, access: Access) -> Self {
        let older = (access == Access::Private).then(|| store.join(Access::Public.folder()));
        Self { dir: store.join(access.folder()), access, older, verified: Arc::default() }
    }

    /// Their visibility.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Copies everything that `source` yields into a blob, and returns its id and its size in
    /// bytes. No name leads to it until the last byte is on disk. If this fails or is killed,
    /// nothing is left behind.
    pub fn add(&self, mut source: impl Read) -> io::Result<(BlobId, u64)> {
        let mut file = self.receive()?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 256 * 1024];
        let mut size = 0;
        loop {
            let count = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            hasher.update(&buffer[..count]);
            file.write_all(&buffer[..count])?;
            size += count as u64;
        }
        let id = BlobId::of_digest(hasher.finalize().into());
        self.keep(&file, &id)?;
        Ok((id, size))
    }

    /// An unnamed file that is to become a blob, see [`Blobs::keep`].
    pub fn receive(&self) -> io::Result<File> {
        if self.access == Access::Private {
            // States of older versions have none.
            files::create_dir(&self.dir, self.access.folder_mode()).map_err(io::Error::other)?;
        }
        files::unnamed(&self.dir, self.access.mode()).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::other(format!(
                "{} is missing: mount it, restore it from a backup, or make it with \
                 `install -d -m 711`, for the owner of the folder above",
                self.dir.display()
            )),
            _ => error,
        })
    }

    /// Turns a complete file with this digest into a blob. An existing blob is verified: it stays
    /// if its bytes are right, and is replaced otherwise.
    pub fn keep(&self, file: &File, id: &BlobId) -> io::Result<()> {
        let path = self.dir.join(id.path());
        if let Some(parent) = path.parent() {
            files::create_dir(parent, self.access.folder_mode()).map_err(io::Error::other)?;
        }
        let size = file.metadata()?.len();
        match self.inspect(&path, id, size) {
            Err(Fault::Missing(_)) => files::link(file, &path),
            Ok(facts) if facts.mode() & 0o777 == self.access.mode() => Ok(()),
            Ok(_) => files::link_over(file, &path),
            Err(fault) => {
                tracing::warn!("{fault}; replaced by a good copy: look at the disk");
                files::link_over(file, &path)
            }
        }
    }

    /// Path of a blob, whether it exists or not.
    pub fn path(&self, id: &BlobId) -> PathBuf {
        let path = self.dir.join(id.path());
        let older = self.older.as_ref().map(|older| older.join(id.path()));
        match older {
            Some(older) if !path.exists() && older.exists() => older,
            _ => path,
        }
    }

    /// Names and facts of all blobs of this tree.
    pub fn list(&self) -> io::Result<Vec<(BlobId, fs::Metadata)>> {
        let mut found = Vec::new();
        let parents = match fs::read_dir(&self.dir) {
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && self.access == Access::Private =>
            {
                return Ok(found);
            }
            parents => parents?,
        };
        for parent in parents {
            let parent = parent?;
            if !parent.file_type()?.is_dir() {
                continue;
            }
            for entry in fs::read_dir(parent.path())? {
                let entry = entry?;
                if let Some(Ok(id)) = entry.file_name().to_str().map(str::parse) {
                    found.push((id, entry.metadata()?));
                }
            }
        }
        Ok(found)
    }

    /// Finds the blob of a file and compares its size, not its bytes.
    pub fn find(&self, asset: &Asset) -> Result<fs::Metadata, Fault> {
        let id = asset.sha256;
        let facts = fs::metadata(self.path(&id)).map_err(|error| Fault::of(id, error))?;
        ensure_size(id, &facts, asset.size)?;
        Ok(facts)
    }

    /// Opens the blob of a file, and compares its size.
    pub fn open_whole(&self, asset: &Asset) -> Result<File, Fault> {
        let id = asset.sha256;
        let open = || self.open(&id).and_then(|file| Ok((file.metadata()?, file)));
        let (facts, file) = open().map_err(|error| Fault::of(id, error))?;
        ensure_size(id, &facts, asset.size)?;
        Ok(file)
    }

    /// Reads the blob of a small file, and verifies its digest.
    pub fn read(&self, asset: &Asset) -> Result<Vec<u8>, Fault> {
        let (id, mut bytes) = (asset.sha256, Vec::new());
        let file = self.open_whole(asset)?;
        let read = file.take(asset.size).read_to_end(&mut bytes);
        read.map_err(|error| Fault::of(id, error))?;
        if BlobId::of_digest(Sha256::digest(&bytes).into()) == id {
            Ok(bytes)
        } else {
            Err(Fault::Digest(id))
        }
    }

    /// Verifies the digest of a file's blob, unless that was done since the blob was last written.
    pub fn verify(&self, asset: &Asset) -> Result<(), Fault> {
        self.inspect(&self.path(&asset.sha256), &asset.sha256, asset.size).map(drop)
    }

    fn inspect(&self, path: &Path, id: &BlobId, size: u64) -> Result<fs::Metadata, Fault> {
        let fault = |error| Fault::of(*id, error);
        let facts = fs::metadata(path).map_err(fault)?;
        ensure_size(*id, &facts, size)?;
        let stamp = (*id, Stamp::new(&facts));
        if self.verified().contains(&stamp) {
            return Ok(facts);
        }
        if digest(&mut open_unnoticed(path).map_err(fault)?).map_err(fault)? != *id {
            return Err(Fault::Digest(*id));
        }
        self.verified().insert(stamp);
        Ok(facts)
    }

    fn verified(&self) -> std::sync::MutexGuard<'_, HashSet<(BlobId, Stamp)>> {
        // The code under this lock cannot panic.
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a blob to its end, and compares its digest with its name.
    pub fn is_whole(&self, id: &BlobId) -> io::Result<bool> {
        Ok(digest(&mut self.open_unnoticed(id)?)? == *id)
    }

    /// The damaged blobs that were set aside.
    pub(super) fn set_aside_before(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let parents = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            parents => parents?,
        };
        for parent in parents {
            let parent = parent?;
            if parent.file_type()?.is_dir() {
                let files = fs::read_dir(parent.path())?;
                let paths = files.map(|entry| entry.map(|entry| entry.path()));
                let paths: Vec<_> = paths.collect::<io::Result<_>>()?;
                let aside = |path: &PathBuf| path.extension().is_some_and(|e| e == ASIDE);
                found.extend(paths.into_iter().filter(aside));
            }
        }
        Ok(found)
    }

    /// Renames a damaged blob, so that an operator can look at it.
    pub fn set_aside(&self, id: &BlobId) -> io::Result<()> {
        let path = self.path(id);
        fs::rename(&path, path.with_extension(ASIDE))
    }

    /// Updates the access time of a blob, which decides what the cache evicts first. Not at each
    /// read: each would be a write, too.
    pub fn touch(&self, id: &BlobId, facts: &fs::Metadata) -> io::Result<()> {
        let now = SystemTime::now();
        let recent = facts
            .accessed()
            .is_ok_and(|then| now.duration_since(then).is_ok_and(|since| since < TOUCHED_EVERY));
        if recent {
            return Ok(());
        }
        self.open(id)?.set_times(fs::FileTimes::new().set_accessed(now))
    }

    /// Removes a blob; a missing one is no error.
    pub fn remove(&self, id: &BlobId) -> io::Result<()> {
        files::remove_if_there(&self.dir.join(id.path()))
    }

    /// Opens a blob for reading.
    pub fn open(&self, id: &BlobId) -> io::Result<File> {
        File::open(self.path(id))
    }

    /// Opens a blob for reading, without a change of its access time.
    pub fn open_unnoticed(&self, id: &BlobId) -> io::Result<File> {
        open_unnoticed(&self.path(id))
    }

    /// The size in bytes of a blob.
    pub fn size(&self, id: &BlobId) -> io::Result<u64> {
        Ok(fs::metadata(self.path(id))?.len())
    }
}

fn ensure_size(id: BlobId, facts: &fs::Metadata, size: u64) -> Result<(), Fault> {
    let found = facts.len();
    if found == size { Ok(()) } else { Err(Fault::Size { id, found, size }) }
}

fn open_unnoticed(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOATIME;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => Ok(file.into()),
        // Only its owner may ask for that; the access time does not matter then.
        Err(Errno::PERM) => File::open(path),
        Err(error) => Err(error.into()),
    }
}

fn digest(source: &mut impl Read) -> io::Result<BlobId> {
    let mut hasher = Sha256::new();
    io::copy(source, &mut HashWriter(&mut hasher))?;
    Ok(BlobId::of_digest(hasher.finalize().into()))
}

struct HashWriter<'a>(&'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
