//! Blobs that the common store has lost, or has wrong: who wants one leaves word there, and
//! whoever has it gives it again.

use anyhow::Result;

use super::Replica;
use super::blobs::BlobError;
use super::layout;
use crate::store::blobs::BlobId;

impl Replica {
    /// Leaves word that a blob is wanted, or takes it back. What fails is left: the next fetch
    /// does the same.
    pub(super) async fn want(&self, id: BlobId, outcome: &Result<(), BlobError>) {
        let lost = matches!(outcome, Err(BlobError::Missing(_) | BlobError::Damaged(_)));
        let asked = self.memory().wanted.contains(&id);
        let path = layout::wanted(&id);
        if lost && !asked && self.remote.put(&path, Vec::new()).await.is_ok() {
            self.memory().wanted.insert(id);
        }
        if outcome.is_ok() && asked && self.remote.delete(&path).await.is_ok() {
            self.memory().wanted.remove(&id);
        }
    }

    /// Gives the common store the wanted blobs that are here, and says how many these were.
    pub async fn give_wanted(&self) -> Result<usize> {
        let mut given = 0;
        for path in self.list(layout::WANTED).await? {
            let Some(id) = layout::parse_wanted(&path) else { continue };
            if self.give_blob(id).await? {
                tracing::info!("gave the store blob {id} again: another host could not get it");
                self.remote.delete(&path).await?;
                given += 1;
            }
        }
        Ok(given)
    }
}
