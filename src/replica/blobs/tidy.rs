//! Tidies the cached blobs: verifies them one by one, and evicts the least recently used.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::fs::Metadata;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;

use anyhow::Result;

use super::fetch::Fetcher;
use super::generations::generations_to_keep;
use crate::fleet::Asset;
use crate::fleet::BlobId;
use crate::replica::blocking::blocking;
use crate::replica::failure::Failure;
use crate::replica::layout;
use crate::replica::remote::Remote;
use crate::store::blobs::Access;
use crate::store::blobs::Fault;
use crate::store::generations::Generations;

/// A blob on this host's disk.
type Found = (Access, BlobId, Metadata);

/// Files this new may belong to a generation that is being published.
const YOUNG: Duration = Duration::from_secs(60 * 60);

/// Tidies the cached blobs.
pub(super) struct Tidier {
    remote: Remote,
    generations: Generations,
    cache_size: Option<u64>,
    fetcher: Arc<Fetcher>,
    /// The blob that was verified last.
    verified: Mutex<Option<(Access, BlobId)>>,
}

impl Tidier {
    pub(super) fn new(
        remote: Remote,
        generations: Generations,
        cache_size: Option<u64>,
        fetcher: Arc<Fetcher>,
    ) -> Self {
        Self { remote, generations, cache_size, fetcher, verified: Mutex::default() }
    }

    /// Verifies one more blob, and evicts others if the cache is full.
    pub(super) async fn tidy(&self) -> Result<(), Failure> {
        let generations = self.generations.clone();
        let mut found = blocking(move || {
            let mut found = Vec::new();
            for access in [Access::Public, Access::Private] {
                let there = generations.blobs_of(access).list()?;
                found.extend(there.into_iter().map(|(id, facts)| (access, id, facts)));
            }
            Ok(found)
        })
        .await?;
        found.sort_by_key(|(access, id, _)| (*access, *id));
        self.verify_next(&found).await?;
        self.evict(found).await
    }

    /// Verifies the blob after the last one. A damaged one is set aside, so that it is not served,
    /// and fetched again.
    async fn verify_next(&self, found: &[Found]) -> Result<(), Failure> {
        let Some((access, id)) = self.next(found) else { return Ok(()) };
        let blobs = self.generations.blobs_of(access).clone();
        let whole = blocking(move || {
            let whole = blobs.is_whole(&id)?;
            if !whole {
                blobs.set_aside(&id)?;
            }
            Ok(whole)
        });
        if whole.await? {
            return Ok(());
        }
        tracing::error!("blob {id} is damaged: it is set aside and fetched again");
        for place in layout::blob_places(access, &id) {
            if let Some(size) = self.remote.size(&place).await? {
                self.fetcher.fetch_fully(&Asset { sha256: id, size }, access).await?;
                break;
            }
        }
        Ok(())
    }

    fn next(&self, found: &[Found]) -> Option<(Access, BlobId)> {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        let later = |(access, id, _): &&Found| Some((*access, *id)) > *verified;
        let (access, id, _) = found.iter().find(later).or_else(|| found.first())?;
        *verified = Some((*access, *id));
        *verified
    }

    /// Verifies the files that the next boots of all gateways may need, fetches those that are
    /// missing or damaged, and returns what could not be fetched.
    pub(super) async fn mend(&self) -> Result<Vec<String>> {
        let generations = self.generations.clone();
        let bad = blocking(move || {
            let mut bad = BTreeMap::new();
            for gateway in generations.gateways()? {
                let history = generations.readable(&gateway)?.history;
                let files = generations_to_keep(&history).flat_map(|generation| generation.files());
                for (path, asset) in files {
                    let blobs = generations.blobs_of(Access::to(path));
                    match blobs.verify(asset) {
                        Ok(()) => continue,
                        Err(Fault::Missing(_)) => {}
                        Err(_) => blobs.set_aside(&asset.sha256)?,
                    }
                    let file = format!("{path} of {}", gateway.name());
                    bad.insert((blobs.access(), asset.sha256), (file, asset.clone()));
                }
            }
            Ok(bad)
        });
        let mut lost = Vec::new();
        for ((access, _), (file, asset)) in bad.await? {
            if let Err(error) = self.fetcher.fetch_fully(&asset, access).await {
                lost.push(format!("{file}: {error}"));
            }
        }
        Ok(lost)
    }

    /// Evicts the least recently used blobs until the rest fits. Blobs that a next boot may need
    /// stay, and so do those that the shared store lacks.
    async fn evict(&self, found: Vec<Found>) -> Result<(), Failure> {
        let Some(limit) = self.cache_size else { return Ok(()) };
        let mut total: u64 = found.iter().map(|(_, _, facts)| facts.len()).sum();
        if total <= limit {
            return Ok(());
        }
        let generations = self.generations.clone();
        let needed = blocking(move || {
            let mut needed = HashSet::new();
            for gateway in generations.gateways()? {
                let history = generations.readable(&gateway)?.history;
                let files = generations_to_keep(&history).flat_map(|g| g.files().values());
                needed.extend(files.map(|asset| asset.sha256));
            }
            Ok(needed)
        });
        let needed = needed.await?;
        let now = SystemTime::now();
        let young = |facts: &Metadata| {
            facts.modified().ok().and_then(|then| now.duration_since(then).ok()) < Some(YOUNG)
        };
        let mut others: Vec<_> = found
            .into_iter()
            .filter(|(_, id, facts)| !needed.contains(id) && !young(facts))
            .collect();
        others.sort_by_key(|(_, _, facts)| facts.accessed().ok());
        for (access, id, facts) in others {
            if total <= limit {
                break;
            }
            if self.remote.size(&layout::blob(access, &id)).await? != Some(facts.len()) {
                continue;
            }
            let blobs = self.generations.blobs_of(access).clone();
            blocking(move || Ok(blobs.remove(&id)?)).await?;
            total -= facts.len();
            tracing::debug!("blob {id} is only in the shared store now");
        }
        Ok(())
    }
}
