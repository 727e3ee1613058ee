//! Blobs of the shared store: fetched when they are needed, cached on this host's disk, and
//! uploaded again when the store or another host lacks them.
//!
//! Touches the network, this host's blobs and the clock.

mod error;
mod fetch;
mod generations;
mod tidy;
mod transfer;
mod wanted;

use std::sync::Arc;
use std::time::Duration;

pub use error::BlobError;
pub use fetch::Fetch;

pub(super) use fetch::FetchCounts;
pub(super) use generations::generations_to_keep;

use fetch::Fetcher;
use tidy::Tidier;
use transfer::Transfer;
use wanted::Wanted;

use super::failure::Failure;
use super::remote::Remote;
use crate::config;
use crate::fleet::Asset;
use crate::fleet::BlobId;
use crate::store::blobs::Access;
use crate::store::generations::Generations;

/// This host's blobs as a cache of the shared store's.
pub(super) struct BlobCache {
    transfer: Arc<Transfer>,
    wanted: Arc<Wanted>,
    fetcher: Arc<Fetcher>,
    tidier: Tidier,
}

impl BlobCache {
    pub(super) fn new(remote: &Remote, generations: &Generations, config: &config::Store) -> Self {
        let timeout = config.timeout;
        let transfer = Arc::new(Transfer::new(remote.clone(), generations.clone(), timeout));
        let wanted = Arc::new(Wanted::new(remote.clone(), transfer.clone()));
        let fetcher = Fetcher::new(generations.clone(), timeout, transfer.clone(), wanted.clone());
        let fetcher = Arc::new(fetcher);
        let tidier =
            Tidier::new(remote.clone(), generations.clone(), config.cache_size, fetcher.clone());
        Self { transfer, wanted, fetcher, tidier }
    }

    /// See [`Transfer::deliver`].
    pub(super) async fn deliver(&self, files: &[(Access, Asset)]) -> Result<(), Failure> {
        self.transfer.deliver(files).await
    }

    /// See [`Transfer::published`].
    pub(super) fn published(&self, files: &[(Access, Asset)]) {
        self.transfer.published(files);
    }

    /// See [`Transfer::give`].
    pub(super) async fn give(&self, access: Access, id: BlobId) -> Result<bool, Failure> {
        self.transfer.give(access, id).await
    }

    /// See [`Transfer::forget`].
    pub(super) fn forget(&self, keys: impl Iterator<Item = (Access, BlobId)>) {
        self.transfer.forget(keys);
    }

    /// See [`Fetcher::fetch`].
    pub(super) async fn fetch(&self, asset: &Asset, access: Access, limit: Duration) -> Fetch {
        self.fetcher.fetch(asset, access, limit).await
    }

    /// See [`Fetcher::fetch_fully`].
    pub(super) async fn fetch_fully(&self, asset: &Asset, access: Access) -> Result<(), BlobError> {
        self.fetcher.fetch_fully(asset, access).await
    }

    /// See [`Fetcher::look`].
    pub(super) fn look(&self, asset: &Asset, access: Access) -> anyhow::Result<bool> {
        self.fetcher.look(asset, access)
    }

    /// See [`Fetcher::counts`].
    pub(super) fn counts(&self) -> FetchCounts {
        self.fetcher.counts()
    }

    /// See [`Wanted::give_all`].
    pub(super) async fn give_wanted(&self) -> Result<usize, Failure> {
        self.wanted.give_all().await
    }

    /// See [`Tidier::tidy`].
    pub(super) async fn tidy(&self) -> Result<(), Failure> {
        self.transfer.confirm().await?;
        self.tidier.tidy().await
    }

    /// See [`Tidier::mend`].
    pub(super) async fn mend(&self) -> anyhow::Result<Vec<String>> {
        self.tidier.mend().await
    }
}
