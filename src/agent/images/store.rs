//! The store of images on the drive: what lies where, and how it is found again after a power cut.
//!
//! ```text
//! ROOT/layers/HEX/fs          an unpacked layer, by the digest of what was fetched
//! ROOT/layers/HEX/layer.json  what is known of it; written last
//! ROOT/layers/HEX/implicit    directories that the layer has something in, but does not describe
//! ROOT/blobs/HEX              manifests and configurations
//! ROOT/fetch/HEX              a layer that is being fetched
//! ROOT/work/                  what is being made or removed; nothing in it counts
//! ROOT/containers/NAME/       what a container changes, until the next boot
//! ROOT/images.json            which images are known good, and which are wanted
//! ROOT/reserve                room that is given up when the drive is full
//! ```
//!
//! A layer is made in `work`, brought to the disk (`syncfs`) and then renamed, so that what is in
//! `layers` is whole. It leaves `layers` by a rename too. Documents are small and checked against
//! their digest each time.

use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::io;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::thread;
use std::time::Duration;

use rustix::fs::CWD;
use rustix::fs::FlockOperation;
use rustix::fs::StatVfsMountFlags;
use rustix::fs::flock;
use rustix::fs::statvfs;
use rustix::fs::syncfs;
use rustix::io::Errno;
use serde::Deserialize;
use serde::Serialize;

use super::error::Error;
use super::error::Result;
use super::kept::Kept;
use super::remove::remove_at;
use super::steps::Live;
use super::steps::Steps;
use crate::profile::oci::MAX_DOCUMENT;
use crate::profile::reference::Digest;

/// Tries of a lock.
const LOCK_TRIES: u32 = 50;
/// Pause between them.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Images on the drive.
pub struct Store {
    pub(super) root: PathBuf,
    pub(super) read_only: bool,
    pub(super) steps: Arc<dyn Steps>,
    pub(super) pause: fn(Duration),
    pub(super) kept: Mutex<Kept>,
    /// Images of this boot: nothing of them is collected.
    pub(super) used: Mutex<BTreeSet<Digest>>,
    _lock: File,
}

/// Facts of an unpacked layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LayerRecord {
    /// Bytes that were fetched.
    pub size: u64,
    /// Bytes of all files.
    pub bytes: u64,
    pub entries: u64,
    /// True if it describes the topmost directory.
    #[serde(default)]
    pub root: bool,
    /// True if it hides all layers below.
    #[serde(default)]
    pub opaque: bool,
}

impl Store {
    /// Opens the store in the directory `root` of the drive, and makes it where there is none. What
    /// a power cut left unfinished is removed, and what containers wrote in earlier boots.
    pub fn open(root: &Path) -> Result<Self> {
        Self::open_with(root, Arc::new(Live), thread::sleep)
    }

    pub(super) fn open_with(
        root: &Path,
        steps: Arc<dyn Steps>,
        pause: fn(Duration),
    ) -> Result<Self> {
        if !root.is_dir() {
            fs::create_dir_all(root).map_err(|error| Error::drive("create", root, error))?;
        }
        let lock = File::open(root).map_err(|error| Error::drive("open", root, error))?;
        take(&lock, root)?;
        let stat = statvfs(root).map_err(|error| Error::drive("look at", root, error.into()))?;
        let mut store = Self {
            root: root.to_owned(),
            read_only: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
            steps,
            pause,
            kept: Mutex::default(),
            used: Mutex::default(),
            _lock: lock,
        };
        if !store.read_only {
            match store.clean() {
                // ext4 refuses writes after an error without saying so among its flags.
                Err(error @ Error::ReadOnly { .. }) => {
                    tracing::warn!("{error}");
                    store.read_only = true;
                }
                result => result?,
            }
        }
        store.kept = Mutex::new(store.load_kept()?);
        Ok(store)
    }

    pub(super) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn used(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.used.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn layer(&self, digest: &Digest) -> PathBuf {
        self.root.join("layers").join(digest.hex())
    }

    pub(super) fn fetched(&self, digest: &Digest) -> PathBuf {
        self.root.join("fetch").join(digest.hex())
    }

    /// The directory for what containers change.
    pub(super) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub(super) fn work(&self, name: &str) -> PathBuf {
        self.root.join("work").join(name)
    }

    /// The facts of a layer; `None` if it is not on the drive.
    pub(super) fn layer_record(&self, digest: &Digest) -> Result<Option<LayerRecord>> {
        read_record(&self.layer(digest))
    }

    /// Removes what does not count, and makes what is missing.
    fn clean(&self) -> Result<()> {
        for name in ["work", "layers", "blobs", "fetch"] {
            self.spend_reserve(|| self.make_directory(&self.root.join(name)))?;
        }
        // Renamed first: a container may have made something that cannot be removed.
        let containers = self.containers();
        if containers.symlink_metadata().is_ok() {
            self.discard(&containers)?;
        }
        for path in self.listing("work")? {
            // What stays is in nobody's way.
            if let Err(error) = self.remove(&path) {
                tracing::warn!("{error}");
            }
        }
        for path in self.listing("layers")? {
            if digest_in(&path).is_none() || read_record(&path)?.is_none() {
                let moved = self.discard(&path)?;
                self.remove(&moved)?;
            }
        }
        for path in self.listing("fetch")? {
            // Of a layer that is unpacked, and of nothing at all.
            if digest_in(&path).is_none_or(|digest| self.layer(&digest).exists()) {
                self.remove(&path)?;
            }
        }
        self.fill_reserve()
    }

    fn make_directory(&self, path: &Path) -> Result<()> {
        match path.symlink_metadata() {
            Ok(meta) if meta.is_dir() => return Ok(()),
            Ok(_) => self.remove(path)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::drive("look at", path, error)),
        }
        self.step("create", path)?;
        fs::create_dir(path).map_err(|error| Error::drive("create", path, error))
    }

    /// The paths in one of the store's directories.
    pub(super) fn listing(&self, name: &str) -> Result<Vec<PathBuf>> {
        let directory = self.root.join(name);
        let list = || -> io::Result<Vec<PathBuf>> {
            fs::read_dir(&directory)?.map(|entry| Ok(entry?.path())).collect()
        };
        list().map_err(|error| Error::drive("list", &directory, error))
    }

    /// Moves something to `work`, so that it counts no more.
    pub(super) fn discard(&self, path: &Path) -> Result<PathBuf> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let free = (0..).map(|n| self.work(&format!("{name}.gone-{n}")));
        let target = free
            .into_iter()
            .find(|path| path.symlink_metadata().is_err())
            .unwrap_or_else(|| self.work("gone"));
        self.step("discard", path)?;
        fs::rename(path, &target).map_err(|error| Error::drive("discard", path, error))?;
        Ok(target)
    }

    /// Removes something; a missing one is no error.
    pub(super) fn remove(&self, path: &Path) -> Result<()> {
        remove_at(CWD, path.as_os_str().as_bytes(), &*self.steps)
            .map_err(|error| Error::drive("remove", path, error))
    }

    /// Writes a file as a whole or not at all.
    pub(super) fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let new = self.work(&format!("{name}.new"));
        self.step("write", path)?;
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(|error| Error::drive("write", path, error))?;
        self.step("rename", path)?;
        fs::rename(&new, path).map_err(|error| Error::drive("write", path, error))?;
        self.sync_directory(path.parent().unwrap_or(&self.root))
    }

    /// Brings a directory's names to the disk.
    pub(super) fn sync_directory(&self, path: &Path) -> Result<()> {
        self.step("sync", path)?;
        let sync = || File::open(path)?.sync_all();
        sync().map_err(|error| Error::drive("sync", path, error))
    }

    /// Brings all that was written to the disk.
    pub(super) fn sync_all(&self, directory: &File) -> Result<()> {
        self.step("sync", &self.root)?;
        syncfs(directory.as_fd()).map_err(|error| Error::drive("sync", &self.root, error.into()))
    }

    pub(super) fn step(&self, what: &'static str, path: &Path) -> Result<()> {
        self.steps.before(what).map_err(|error| Error::drive(what, path, error))
    }
}

/// Takes the lock of a drive. A program that is just being started by this process holds it a moment
/// longer than the store that was closed, so the first refusals do not count.
fn take(lock: &File, root: &Path) -> Result<()> {
    for _ in 0..LOCK_TRIES {
        match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) => thread::sleep(LOCK_PAUSE),
            Err(error) => return Err(Error::drive("lock", root, error.into())),
        }
    }
    Err(Error::InUse(root.to_owned()))
}

/// The digest that a file or directory of the store is named after.
pub(super) fn digest_in(path: &Path) -> Option<Digest> {
    path.file_name()?.to_str().and_then(Digest::from_hex)
}

/// Reads what is known of a layer; `None` if it is not whole.
fn read_record(layer: &Path) -> Result<Option<LayerRecord>> {
    let bytes = match read_small(&layer.join("layer.json")) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        Err(error) => return Err(Error::drive("read", layer, error)),
    };
    let whole = layer.join("fs").symlink_metadata().is_ok_and(|meta| meta.is_dir());
    Ok(if whole { serde_json::from_slice(&bytes).ok() } else { None })
}

/// A file that fits into memory; `None` if it is not there, or does not fit.
pub(super) fn read_small(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= MAX_DOCUMENT).then_some(bytes))
}
