//! Blobs: files that are named by the SHA-256 of their bytes and never change.

use std::fmt;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;

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
        let mode = if private { 0o600 } else { 0o644 };
        let mut file = files::unnamed(&self.dir, mode)?;
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
        let path = self.dir.join(id.path());
        if let Some(parent) = path.parent() {
            files::create_dir(parent, 0o711).map_err(io::Error::other)?;
        }
        files::link(&file, &path)?;
        Ok((id, size))
    }

    /// Opens a blob for reading.
    pub fn open(&self, id: &BlobId) -> io::Result<File> {
        File::open(self.dir.join(id.path()))
    }

    /// The size in bytes of a blob.
    pub fn size(&self, id: &BlobId) -> io::Result<u64> {
        Ok(fs::metadata(self.dir.join(id.path()))?.len())
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
