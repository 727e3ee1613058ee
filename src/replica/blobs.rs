use std::io;
use std::sync::Arc;

use sha2::Digest;
use sha2::Sha256;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::Replica;
use super::blocking;
use super::error::Error;
use super::layout;
use super::remote::transfer_limit;
use crate::fleet::Asset;
use crate::fleet::BlobId;
use crate::store::blobs::Access;

/// Why a blob is not here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// The common store did not do as asked.
    #[error("the store {0}")]
    Remote(#[from] Error),
    /// It is nowhere.
    #[error("the store has no blob {0}: a host that has it is asked for it")]
    Missing(BlobId),
    /// What the store has under its name is something else.
    #[error(
        "what the store has as blob {0} are not its bytes: a host that has them is asked for them"
    )]
    Damaged(BlobId),
    /// It came, and could not be kept.
    #[error("blob {0} cannot be kept: {1}")]
    Disk(BlobId, String),
}

impl Replica {
    /// Sees that the common store has a blob.
    pub(super) async fn push_blob(&self, access: Access, asset: &Asset) -> anyhow::Result<()> {
        let id = asset.sha256;
        if self.memory().stored.contains(&(access, id)) {
            return Ok(());
        }
        let there = self.remote.size(&layout::blob(access, &id)).await? == Some(asset.size);
        if there {
            self.memory().stored.insert((access, id));
        } else if !self.give_blob(access, id).await? {
            // An old generation: its event is worth more than nothing.
            self.report_once(format!(
                "blob {id} is not given to other hosts: it is missing here, or damaged"
            ));
        }
        Ok(())
    }

    /// Gives the common store a blob, whatever it has under that name. `false` if it is not
    /// here, or damaged.
    pub(super) async fn give_blob(&self, access: Access, id: BlobId) -> anyhow::Result<bool> {
        let given = self.give(access, id, layout::blob(access, &id)).await?;
        if given {
            self.memory().stored.insert((access, id));
        }
        Ok(given)
    }

    /// The same under another name.
    pub(super) async fn give(
        &self,
        access: Access,
        id: BlobId,
        path: String,
    ) -> anyhow::Result<bool> {
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

    /// Brings a blob here. It gets its name only once all its bytes are found to be right.
    pub(super) async fn download(
        self: &Arc<Self>,
        asset: &Asset,
        access: Access,
    ) -> Result<(), BlobError> {
        let limit = transfer_limit(self.state.config().store.timeout, asset.size);
        let download = self.download_slowly(asset, access);
        tokio::time::timeout(limit, download).await.map_err(|_| BlobError::Remote(Error::Slow))?
    }

    async fn download_slowly(&self, asset: &Asset, access: Access) -> Result<(), BlobError> {
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
            // More than was announced: nothing that fills the disk.
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
            self.memory().stored.insert((access, id));
        }
        Ok(())
    }
}
