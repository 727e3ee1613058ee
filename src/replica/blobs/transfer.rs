//! Moves single blobs between this host and the shared store, and remembers which ones the store
//! has.

use std::collections::HashSet;
use std::io;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use sha2::Digest;
use sha2::Sha256;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::error::BlobError;
use crate::fleet::Asset;
use crate::fleet::BlobId;
use crate::replica::blocking::blocking;
use crate::replica::failure::Failure;
use crate::replica::layout;
use crate::replica::notices::Notices;
use crate::replica::remote::Error;
use crate::replica::remote::Remote;
use crate::replica::remote::transfer_limit;
use crate::store::blobs::Access;
use crate::store::generations::Generations;

/// Uploads and downloads of blobs.
pub(super) struct Transfer {
    remote: Remote,
    generations: Generations,
    timeout: Duration,
    notices: Notices,
    /// Blobs that the shared store is known to have.
    stored: Mutex<HashSet<(Access, BlobId)>>,
}

impl Transfer {
    pub(super) fn new(remote: Remote, generations: Generations, timeout: Duration) -> Self {
        let (notices, stored) = (Notices::default(), Mutex::default());
        Self { remote, generations, timeout, notices, stored }
    }

    /// Uploads a blob that the shared store does not have yet. One that is missing or damaged here
    /// is reported.
    pub(super) async fn deliver(&self, access: Access, asset: &Asset) -> Result<(), Failure> {
        let id = asset.sha256;
        if self.stored().contains(&(access, id)) {
            return Ok(());
        }
        if self.remote.size(&layout::blob(access, &id)).await? == Some(asset.size) {
            self.stored().insert((access, id));
        } else if !self.give(access, id).await? {
            // Its generation is delivered anyway: it may be an old one, and its event counts.
            self.notices
                .error(format!("blob {id} cannot be uploaded: it is missing here, or damaged"));
        }
        Ok(())
    }

    /// Uploads a blob, over whatever the shared store has under its name. `false` if it is missing
    /// or damaged here.
    pub(super) async fn give(&self, access: Access, id: BlobId) -> Result<bool, Failure> {
        let given = self.give_as(access, id, layout::blob(access, &id)).await?;
        if given {
            self.stored().insert((access, id));
        }
        Ok(given)
    }

    /// Does the same under another path.
    pub(super) async fn give_as(
        &self,
        access: Access,
        id: BlobId,
        path: String,
    ) -> Result<bool, Failure> {
        let blobs = self.generations.blobs_of(access).clone();
        let opened = blocking(move || match blobs.is_whole(&id) {
            Ok(true) => Ok(Some((blobs.open_unnoticed(&id)?, blobs.size(&id)?))),
            Ok(false) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        });
        let Some((file, size)) = opened.await? else { return Ok(false) };
        self.remote.put_file(&path, file, size).await?;
        Ok(true)
    }

    /// Downloads a blob. It gets its name only once all its bytes were verified.
    pub(super) async fn download(&self, asset: &Asset, access: Access) -> Result<(), BlobError> {
        let limit = transfer_limit(self.timeout, asset.size);
        let download = self.download_from_any(asset, access);
        tokio::time::timeout(limit, download).await.map_err(|_| BlobError::Remote(Error::Slow))?
    }

    async fn download_from_any(&self, asset: &Asset, access: Access) -> Result<(), BlobError> {
        let mut outcome = Err(BlobError::Missing(asset.sha256));
        for path in layout::blob_places(access, &asset.sha256) {
            outcome = self.download_from(&path, asset, access).await;
            if !matches!(outcome, Err(BlobError::Missing(_) | BlobError::Damaged(_))) {
                break;
            }
        }
        outcome
    }

    async fn download_from(
        &self,
        path: &str,
        asset: &Asset,
        access: Access,
    ) -> Result<(), BlobError> {
        let id = asset.sha256;
        let disk = |error: io::Error| BlobError::Disk(id, error.to_string());
        let Some((size, mut pieces)) = self.remote.read(path).await? else {
            return Err(BlobError::Missing(id));
        };
        if size != asset.size {
            return Err(BlobError::Damaged(id));
        }
        let blobs = self.generations.blobs_of(access).clone();
        let file = blobs.receive().map_err(disk)?;
        let mut file = File::from_std(file);
        let (mut hasher, mut left) = (Sha256::new(), size);
        while let Some(piece) = pieces.next().await? {
            // An answer longer than announced must not fill the disk.
            left = left.checked_sub(piece.len() as u64).ok_or(BlobError::Damaged(id))?;
            hasher.update(&piece);
            file.write_all(&piece).await.map_err(disk)?;
        }
        file.flush().await.map_err(disk)?;
        if left > 0 {
            return Err(BlobError::Remote(Error::Broken));
        }
        if BlobId::of_digest(hasher.finalize().into()) != id {
            return Err(BlobError::Damaged(id));
        }
        let file = file.into_std().await;
        let kept = blocking(move || Ok(blobs.keep(&file, &id)?)).await;
        kept.map_err(|error| BlobError::Disk(id, error.to_string()))?;
        if path == layout::blob(access, &id) {
            self.stored().insert((access, id));
        }
        Ok(())
    }

    fn stored(&self) -> MutexGuard<'_, HashSet<(Access, BlobId)>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
