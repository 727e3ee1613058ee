//! Layers on their way into blobs: verified while they come, and continued where a registry broke
//! off. Network and the state's blobs.

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::Write;

use http::StatusCode;
use sha2::Digest as _;
use sha2::Sha256;

use super::error::Why;
use super::registry::Ask;
use super::registry::Connection;
use super::registry::pause;
use crate::fleet::Asset;
use crate::fleet::BlobId;
use crate::profile::distribution::first_byte;
use crate::profile::oci::Descriptor;
use crate::profile::reference::Digest;
use crate::store::blobs::Blobs;

/// Tries in a row that bring no byte.
const IDLE_TRIES: u32 = 5;

/// Tries in all: a registry that sends a byte at a time is given up some day.
const MOST_TRIES: u32 = 1000;

/// The blob with a digest.
pub(super) fn blob_of(digest: Digest) -> BlobId {
    BlobId::of_digest(digest.sha256())
}

/// True if the blob with this digest is here and whole.
pub(super) fn is_here(blobs: &Blobs, digest: Digest) -> bool {
    let sha256 = blob_of(digest);
    blobs.size(&sha256).is_ok_and(|size| blobs.verify(&Asset { sha256, size }).is_ok())
}

/// The bytes of a layer that have come.
struct Partial {
    file: File,
    hasher: Sha256,
    got: u64,
    /// True if it did not come in one piece.
    continued: bool,
}

impl Partial {
    fn new(blobs: &Blobs) -> io::Result<Self> {
        let file = blobs.receive()?;
        Ok(Self { file, hasher: Sha256::new(), got: 0, continued: false })
    }

    fn begin_again(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        (self.hasher, self.got, self.continued) = (Sha256::new(), 0, false);
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], layer: &Descriptor) -> Result<(), Why> {
        if self.got + bytes.len() as u64 > layer.size {
            return Err(Why::TooLong { what: "a layer".into(), max: layer.size });
        }
        self.file.write_all(bytes).map_err(Why::Disk)?;
        self.hasher.update(bytes);
        self.got += bytes.len() as u64;
        Ok(())
    }

    fn is_right(&self, layer: &Descriptor) -> bool {
        Digest::from(self.hasher.clone()) == layer.digest
    }
}

/// Copies a layer from a file.
pub(super) fn copy(
    mut from: impl Read,
    path: &str,
    layer: &Descriptor,
    blobs: &Blobs,
    progress: &dyn Fn(u64),
) -> Result<(), Why> {
    let mut partial = Partial::new(blobs).map_err(Why::Disk)?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = from
            .read(&mut buffer)
            .map_err(|error| Why::Unreadable { path: path.to_owned(), error })?;
        if count == 0 {
            break;
        }
        partial.take(&buffer[..count], layer)?;
        progress(count as u64);
    }
    if partial.got != layer.size || !partial.is_right(layer) {
        return Err(Why::Damaged(path.into()));
    }
    blobs.keep(&partial.file, &blob_of(layer.digest)).map_err(Why::Disk)
}

/// Fetches a layer from a registry.
pub(super) async fn fetch(
    connection: &Connection,
    repository: &str,
    layer: &Descriptor,
    blobs: &Blobs,
    progress: &dyn Fn(u64),
) -> Result<(), Why> {
    let mut partial = Partial::new(blobs).map_err(Why::Disk)?;
    let mut idle = 0;
    for _ in 0..MOST_TRIES {
        let before = partial.got;
        let came = receive(connection, repository, layer, &mut partial, progress).await;
        match came {
            // What was there before may have been another's: once more in one piece.
            Err(Why::TooLong { .. }) if partial.continued => {
                partial.begin_again().map_err(Why::Disk)?;
            }
            Err(Why::Unreachable { .. }) | Ok(()) if partial.got < layer.size => {}
            Err(Why::Unreachable { .. }) | Ok(()) if partial.is_right(layer) => {
                return blobs.keep(&partial.file, &blob_of(layer.digest)).map_err(Why::Disk);
            }
            Err(Why::Unreachable { .. }) | Ok(()) if partial.continued => {
                partial.begin_again().map_err(Why::Disk)?;
            }
            Ok(()) => return Err(Why::Damaged("a layer".into())),
            Err(why) => return Err(why),
        }
        if partial.got > before {
            idle = 0;
        } else {
            idle += 1;
            if idle >= IDLE_TRIES {
                break;
            }
        }
        tokio::time::sleep(pause(idle, None)).await;
    }
    let (host, got, size) = (connection.host.clone(), partial.got, layer.size);
    Err(Why::Short { host, got, size })
}

/// One answer, from where the one before ended.
async fn receive(
    connection: &Connection,
    repository: &str,
    layer: &Descriptor,
    partial: &mut Partial,
    progress: &dyn Fn(u64),
) -> Result<(), Why> {
    let ask = Ask { repository, path: format!("blobs/{}", layer.digest), from: partial.got };
    let mut answer = connection.get(&ask).await?;
    if partial.got > 0 {
        let status = answer.status();
        if status == StatusCode::PARTIAL_CONTENT
            && first_byte(answer.headers()) == Some(partial.got)
        {
            partial.continued = true;
        } else if status == StatusCode::OK {
            // It knows no ranges.
            partial.begin_again().map_err(Why::Disk)?;
        } else {
            let (host, status) = (connection.host.clone(), status.as_u16());
            return Err(Why::Odd { host, status, what: "another part than was asked for".into() });
        }
    }
    while let Some(chunk) = answer.chunk().await.map_err(|error| connection.broken(&error))? {
        partial.take(&chunk, layer)?;
        progress(chunk.len() as u64);
    }
    Ok(())
}
