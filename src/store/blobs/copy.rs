//! Reads blobs back. Nothing is held in memory, however large a blob is.

use std::io;
use std::io::Read;
use std::io::Write;

use anyhow::Context;
use anyhow::Result;
use sha2::Digest as _;
use sha2::Sha256;

use super::Blobs;
use super::Fault;
use crate::fleet::Asset;
use crate::fleet::BlobId;

impl Blobs {
    /// Copies the blob of a file, and verifies its digest on the way: if this fails, the copy is
    /// worthless. `progress` gets the number of bytes copied.
    pub fn copy(&self, asset: &Asset, out: &mut dyn Write, progress: &dyn Fn(u64)) -> Result<()> {
        let id = asset.sha256;
        let mut source = self.open_whole(asset)?.take(asset.size);
        let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 256 * 1024]);
        loop {
            let count = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Fault::of(id, error).into()),
            };
            hasher.update(&buffer[..count]);
            out.write_all(&buffer[..count]).context("cannot write")?;
            progress(count as u64);
        }
        let whole = BlobId::of_digest(hasher.finalize().into()) == id;
        if whole { Ok(()) } else { Err(Fault::Digest(id).into()) }
    }
}
