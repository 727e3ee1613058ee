//! Blobs: files that are named by the SHA-256 of their bytes and never change.

use std::fmt;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use std::time::SystemTime;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::Deserialize;
use serde::Serialize;
use sha2::Digest as _;
use sha2::Sha256;

use super::files;

/// SHA-256 of a blob's bytes; shown as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct BlobId([u8; 32]);

impl BlobId {
    /// The name of bytes whose SHA-256 is this.
    pub fn of_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Where the blob lies below `blobs/`: one of 256 directories, then its name.
    pub fn path(&self) -> String {
        let name = self.to_string();
        format!("{}/{name}", &name[..2])
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobId({self})")
    }
}

impl FromStr for BlobId {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl From<BlobId> for String {
    fn from(id: BlobId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for BlobId {
    type Error = hex::FromHexError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// How precisely it is known when a blob was used.
const TOUCHED_EVERY: Duration = Duration::from_secs(60 * 60);

/// The blobs of one store.
#[derive(Clone, Debug)]
pub struct Blobs {
    dir: PathBuf,
}

impl Blobs {
    /// The blobs in `dir`, which exists.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Copies everything that `source` yields into a blob, and returns its name
    /// and size in bytes. Until the last byte is on disk, no name leads to it;
    /// when this fails or is killed, nothing is left behind.
    ///
    /// `private` blobs can be read by the owner alone, not by nginx.
    pub fn add(&self, mut source: impl Read, private: bool) -> io::Result<(BlobId, u64)> {
        let mut file = self.receive(private)?;
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
        let id = BlobId(hasher.finalize().into());
        self.keep(&file, &id)?;
        Ok((id, size))
    }

    /// A file without a name that is to become a blob, see [`Blobs::keep`].
    pub fn receive(&self, private: bool) -> io::Result<File> {
        files::unnamed(&self.dir, mode(private))
    }

    /// Makes a complete file, whose bytes have this digest, a blob.
    pub fn keep(&self, file: &File, id: &BlobId) -> io::Result<()> {
        let path = self.path(id);
        if let Some(parent) = path.parent() {
            files::create_dir(parent, 0o711).map_err(io::Error::other)?;
        }
        files::link(file, &path)
    }

    /// Where a blob is on disk, if it is.
    pub fn path(&self, id: &BlobId) -> PathBuf {
        self.dir.join(id.path())
    }

    /// Names and facts of all blobs.
    pub fn list(&self) -> io::Result<Vec<(BlobId, fs::Metadata)>> {
        let mut found = Vec::new();
        for parent in fs::read_dir(&self.dir)? {
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

    /// Reads a blob to its end, and says whether its bytes are what its name says.
    pub fn is_whole(&self, id: &BlobId) -> io::Result<bool> {
        let mut hasher = Sha256::new();
        io::copy(&mut self.open_unnoticed(id)?, &mut HashWriter(&mut hasher))?;
        Ok(BlobId(hasher.finalize().into()) == *id)
    }

    /// Puts a blob out of the way that is not what its name says, for somebody to look at.
    pub fn set_aside(&self, id: &BlobId) -> io::Result<()> {
        let path = self.path(id);
        fs::rename(&path, path.with_extension("damaged"))
    }

    /// Notes that a blob was used, so that others are forgotten before it. Not each time:
    /// that would be a write for each read.
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

    /// Takes a blob away; that there is none is as good.
    pub fn remove(&self, id: &BlobId) -> io::Result<()> {
        files::remove_if_there(&self.path(id))
    }

    /// Opens a blob for reading.
    pub fn open(&self, id: &BlobId) -> io::Result<File> {
        File::open(self.path(id))
    }

    /// The same for who only looks after it: that does not count as use.
    pub fn open_unnoticed(&self, id: &BlobId) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOATIME;
        match rustix::fs::open(self.path(id), flags, Mode::empty()) {
            Ok(file) => Ok(file.into()),
            // Somebody else's file: of no consequence.
            Err(Errno::PERM) => self.open(id),
            Err(error) => Err(error.into()),
        }
    }

    /// The size in bytes of a blob.
    pub fn size(&self, id: &BlobId) -> io::Result<u64> {
        Ok(fs::metadata(self.path(id))?.len())
    }
}

fn mode(private: bool) -> u32 {
    if private { 0o600 } else { 0o644 }
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
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_are_kept_once_and_a_failed_copy_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(dir.path().to_owned());
        let (first, size) = blobs.add(&b"kernel"[..], false).unwrap();
        let (second, _) = blobs.add(&b"kernel"[..], false).unwrap();
        assert_eq!((first, size), (second, 6));
        assert_eq!(io::read_to_string(blobs.open(&first).unwrap()).unwrap(), "kernel");

        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("gone"))
            }
        }
        let before = fs::read_dir(dir.path()).unwrap().count();
        assert!(blobs.add((&b"half"[..]).chain(Broken), false).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), before);
    }
}
