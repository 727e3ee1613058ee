//! Moves single blobs between this host and the shared store, and remembers which ones the store
//! has.

use std::collections::HashMap;
use std::io;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use sha2::Digest;
use sha2::Sha256;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::error::BlobError;
use crate::fleet::Asset;
use crate::fleet::BlobId;
use crate::replica::ages::Ages;
use crate::replica::blocking::blocking;
use crate::replica::failure::Failure;
use crate::replica::layout;
use crate::replica::notices::Notices;
use crate::replica::remote::Error;
use crate::replica::remote::Remote;
use crate::replica::remote::StoreTime;
use crate::replica::remote::transfer_limit;
use crate::store::blobs::Access;
use crate::store::generations::Generations;

/// The time for which a look at the clock of the store is enough: it and ours run alike.
const TRUSTED: Duration = Duration::from_secs(60 * 60);

/// Uploads and downloads of blobs.
pub(super) struct Transfer {
    remote: Remote,
    generations: Generations,
    timeout: Duration,
    notices: Notices,
    ages: Ages,
    /// Blobs that the shared store is known to have, fresh, and since when.
    stored: Mutex<HashMap<(Access, BlobId), Instant>>,
    /// Blobs that were sent, to be looked at once more, and since when.
    sent: Mutex<HashMap<(Access, BlobId), Instant>>,
    /// The time by the clock of the store, and when that was.
    clock: Mutex<Option<(StoreTime, Instant)>>,
}

impl Transfer {
    pub(super) fn new(remote: Remote, generations: Generations, timeout: Duration) -> Self {
        Self {
            remote,
            generations,
            timeout,
            notices: Notices::default(),
            ages: Ages::default(),
            stored: Mutex::default(),
            sent: Mutex::default(),
            clock: Mutex::default(),
        }
    }

    /// Uploads blobs that the shared store does not have, or has had for so long that another host
    /// may be deleting them. When this returns, an event that names them may follow. A blob that is
    /// missing or damaged here is reported.
    pub(super) async fn deliver(&self, files: &[(Access, Asset)]) -> Result<(), Failure> {
        loop {
            let began = Instant::now();
            for (access, asset) in files {
                self.deliver_one(*access, asset).await?;
            }
            if self.ages.may_publish(began.elapsed()) {
                return Ok(());
            }
        }
    }

    async fn deliver_one(&self, access: Access, asset: &Asset) -> Result<(), Failure> {
        let (id, now) = (asset.sha256, Instant::now());
        let known = self.stored().get(&(access, id)).copied();
        if known.is_some_and(|then| self.ages.still_counts(now - then)) {
            return Ok(());
        }
        let facts = self.remote.facts(&layout::blob(access, &id)).await?;
        let there = facts.filter(|facts| facts.size == asset.size);
        if let Some(facts) = there
            && self.ages.is_fresh(facts.age(self.store_time().await?))
        {
            self.stored().insert((access, id), now);
        } else if !self.give(access, id).await? && there.is_none() {
            // Its generation is delivered anyway: it may be an old one, and its event counts.
            self.notices
                .error(format!("blob {id} cannot be uploaded: it is missing here, or damaged"));
        }
        Ok(())
    }

    /// The time by the clock of the store, which is asked for it now and then.
    async fn store_time(&self) -> Result<StoreTime, Failure> {
        let known = *self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((time, at)) = known.filter(|(_, at)| at.elapsed() < TRUSTED) {
            return Ok(time.after(at.elapsed()));
        }
        let at = Instant::now();
        let time = self.remote.now().await?;
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = Some((time, at));
        Ok(time)
    }

    /// Uploads a blob, over whatever the shared store has under its name. `false` if it is missing
    /// or damaged here.
    pub(super) async fn give(&self, access: Access, id: BlobId) -> Result<bool, Failure> {
        let given = self.give_as(access, id, layout::blob(access, &id)).await?;
        if given {
            let now = Instant::now();
            self.stored().insert((access, id), now);
            self.sent().insert((access, id), now);
        }
        Ok(given)
    }

    /// Notes that an event names these blobs from now on. Another host that began to delete before
    /// may delete one of them until its deadline.
    pub(super) fn published(&self, files: &[(Access, Asset)]) {
        let mut sent = self.sent();
        for (access, asset) in files {
            if let Some(then) = sent.get_mut(&(*access, asset.sha256)) {
                *then = Instant::now();
            }
        }
    }

    /// Looks once more at the blobs that were sent, when nobody can be deleting them any more, and
    /// sends those again that were deleted.
    pub(super) async fn confirm(&self) -> Result<(), Failure> {
        let settled = |then: &Instant| self.ages.is_settled(then.elapsed());
        let due: Vec<_> =
            self.sent().iter().filter(|(_, then)| settled(then)).map(|(key, _)| *key).collect();
        for (access, id) in due {
            if self.remote.facts(&layout::blob(access, &id)).await?.is_none() {
                tracing::info!("blob {id} was deleted from the store while it was published");
                self.give(access, id).await?;
            } else {
                self.sent().remove(&(access, id));
            }
        }
        Ok(())
    }

    /// Forgets that the shared store has these blobs.
    pub(super) fn forget(&self, keys: impl Iterator<Item = (Access, BlobId)>) {
        let mut stored = self.stored();
        for key in keys {
            stored.remove(&key);
        }
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
        Ok(())
    }

    fn stored(&self) -> MutexGuard<'_, HashMap<(Access, BlobId), Instant>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sent(&self) -> MutexGuard<'_, HashMap<(Access, BlobId), Instant>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
