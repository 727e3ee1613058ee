//! Blobs that the common store has lost, or has wrong: who wants one leaves word there, and
//! whoever has it gives it again.

use anyhow::Result;

use super::Replica;
use super::blobs::BlobError;
use super::layout;
use crate::fleet::BlobId;
use crate::store::blobs::Access;

impl Replica {
    /// Leaves word that a blob is wanted, or takes it back. What fails is left: the next fetch
    /// does the same.
    pub(super) async fn want(&self, access: Access, id: BlobId, outcome: &Result<(), BlobError>) {
        let lost = matches!(outcome, Err(BlobError::Missing(_) | BlobError::Damaged(_)));
        let asked = self.memory().wanted.contains(&(access, id));
        let path = layout::wanted(access, &id);
        if lost && !asked && self.remote.put(&path, Vec::new()).await.is_ok() {
            self.memory().wanted.insert((access, id));
        }
        if outcome.is_ok() && asked && self.remote.delete(&path).await.is_ok() {
            self.memory().wanted.remove(&(access, id));
        }
    }

    /// Gives the common store the wanted blobs that are here, and says how many these were.
    pub async fn give_wanted(&self) -> Result<usize> {
        let mut given = 0;
        for path in self.list(layout::WANTED).await? {
            let Some((access, id)) = layout::parse_wanted(&path) else { continue };
            // Hosts of an older version want all of them in one tree.
            if self.give_blob(access, id).await? || self.give_as_before(access, id).await? {
                tracing::info!("gave the store blob {id} again: another host could not get it");
                self.remote.delete(&path).await?;
                given += 1;
            }
        }
        Ok(given)
    }

    async fn give_as_before(&self, access: Access, id: BlobId) -> Result<bool> {
        match access {
            Access::Public => self.give(Access::Private, id, layout::blob(access, &id)).await,
            Access::Private => Ok(false),
        }
    }
}
