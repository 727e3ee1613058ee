//! Blobs that the shared store has lost or has damaged. A host that cannot fetch one leaves a
//! marker in the store; a host that has it uploads it again.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use super::error::BlobError;
use super::transfer::Transfer;
use crate::fleet::BlobId;
use crate::replica::failure::Failure;
use crate::replica::layout;
use crate::replica::notices::Notices;
use crate::replica::remote::Remote;
use crate::store::blobs::Access;

/// The markers, and which of them this host left.
pub(super) struct Wanted {
    remote: Remote,
    transfer: Arc<Transfer>,
    notices: Notices,
    left: Mutex<HashSet<(Access, BlobId)>>,
}

impl Wanted {
    pub(super) fn new(remote: Remote, transfer: Arc<Transfer>) -> Self {
        Self { remote, transfer, notices: Notices::default(), left: Mutex::default() }
    }

    /// Leaves a marker for a blob that could not be fetched, or removes it once it could. Errors
    /// are ignored: the next fetch tries the same again.
    pub(super) async fn note(&self, access: Access, id: BlobId, outcome: &Result<(), BlobError>) {
        let lost = matches!(outcome, Err(BlobError::Missing(_) | BlobError::Damaged(_)));
        let left = self.left().contains(&(access, id));
        let path = layout::wanted(access, &id);
        if lost && !left && self.remote.put(&path, Vec::new()).await.is_ok() {
            self.left().insert((access, id));
        }
        if outcome.is_ok() && left && self.remote.delete(&path).await.is_ok() {
            self.left().remove(&(access, id));
        }
    }

    /// Uploads the wanted blobs that this host has, and says how many.
    pub(super) async fn give_all(&self) -> Result<usize, Failure> {
        let mut given = 0;
        let listed = self.remote.list(layout::WANTED).await?;
        self.notices.strays(&listed.strays, self.remote.shown());
        for path in listed.paths {
            let Some((access, id)) = layout::parse_wanted(&path) else { continue };
            // Hosts of older versions ask for secrets among the public blobs.
            if self.transfer.give(access, id).await? || self.give_as_before(access, id).await? {
                tracing::info!("uploaded blob {id} again: another host could not fetch it");
                self.remote.delete(&path).await?;
                given += 1;
            }
        }
        Ok(given)
    }

    async fn give_as_before(&self, access: Access, id: BlobId) -> Result<bool, Failure> {
        match access {
            Access::Public => {
                self.transfer.give_as(Access::Private, id, layout::blob(access, &id)).await
            }
            Access::Private => Ok(false),
        }
    }

    fn left(&self) -> MutexGuard<'_, HashSet<(Access, BlobId)>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
