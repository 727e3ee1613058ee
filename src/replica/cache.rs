//! Blobs are cached here: bounded in size, and looked at again.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::fs::Metadata;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use anyhow::Result;

use super::Replica;
use super::blocking;
use super::layout;
use super::pull::matter;
use crate::fleet::Asset;
use crate::fleet::BlobId;
use crate::store::blobs::Access;
use crate::store::blobs::Fault;

/// A blob that is here.
type Found = (Access, BlobId, Metadata);

/// Files that came so recently may belong to a generation that is being published.
const YOUNG: Duration = Duration::from_secs(60 * 60);

impl Replica {
    /// Looks at one more blob, makes room if the cache is full, and gives the common store
    /// what other hosts could not get there.
    pub async fn tidy(self: &Arc<Self>) -> Result<()> {
        self.give_wanted().await?;
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
        self.scrub(&found).await?;
        self.evict(found).await
    }

    /// Reads one blob to its end, the one after the last. A damaged one is set aside before
    /// anybody gets it, and fetched again.
    async fn scrub(self: &Arc<Self>, found: &[Found]) -> Result<()> {
        let last = self.memory().scrubbed;
        let later = |(access, id, _): &&Found| Some((*access, *id)) > last;
        let next = found.iter().find(later).or_else(|| found.first());
        let Some((access, id, _)) = next else { return Ok(()) };
        let (access, id) = (*access, *id);
        self.memory().scrubbed = Some((access, id));
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
                self.fetch_in_time(&Asset { sha256: id, size }, access).await?;
                break;
            }
        }
        Ok(())
    }

    /// Verifies the files that the next boots of all gateways may need, fetches those that are
    /// missing or damaged, and says which could not be had.
    pub async fn mend(self: &Arc<Self>) -> Result<Vec<String>> {
        let generations = self.generations.clone();
        let bad = blocking(move || {
            let mut bad = BTreeMap::new();
            for gateway in generations.gateways()? {
                let history = generations.readable(&gateway)?.history;
                let files = matter(&history).flat_map(|generation| generation.files());
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
            if let Err(error) = self.fetch_in_time(&asset, access).await {
                lost.push(format!("{file}: {error}"));
            }
        }
        Ok(lost)
    }

    /// Forgets what was not used for longest until the rest fits. What a next boot may need
    /// stays, and so does what the common store does not have.
    async fn evict(&self, found: Vec<Found>) -> Result<()> {
        let Some(limit) = self.state.config().store.cache_size else { return Ok(()) };
        let mut total: u64 = found.iter().map(|(_, _, facts)| facts.len()).sum();
        if total <= limit {
            return Ok(());
        }
        let generations = self.generations.clone();
        let needed = blocking(move || {
            let mut needed = HashSet::new();
            for gateway in generations.gateways()? {
                let history = generations.readable(&gateway)?.history;
                let files = matter(&history).flat_map(|generation| generation.files().values());
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
            tracing::debug!("blob {id} is only in the common store now");
        }
        Ok(())
    }
}
