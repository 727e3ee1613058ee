//! Blobs are cached here: bounded in size, and looked at again.

use std::collections::HashSet;
use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use anyhow::Result;

use super::Replica;
use super::blocking;
use super::layout;
use super::pull::matter;
use crate::store::blobs::BlobId;
use crate::store::events::Asset;

/// Files that came so recently may belong to a generation that is being published.
const YOUNG: Duration = Duration::from_secs(60 * 60);

impl Replica {
    /// Looks at one more blob, makes room if the cache is full, and gives the common store
    /// what other hosts could not get there.
    pub async fn tidy(self: &Arc<Self>) -> Result<()> {
        self.give_wanted().await?;
        let blobs = self.generations.blobs().clone();
        let mut found = blocking(move || Ok(blobs.list()?)).await?;
        found.sort_by_key(|(id, _)| *id);
        self.scrub(&found).await?;
        self.evict(found).await
    }

    /// Reads one blob to its end, the one after the last. A damaged one is set aside before
    /// anybody gets it, and fetched again.
    async fn scrub(self: &Arc<Self>, found: &[(BlobId, Metadata)]) -> Result<()> {
        let last = self.memory().scrubbed;
        let next = found.iter().find(|(id, _)| Some(*id) > last).or_else(|| found.first());
        let Some((id, facts)) = next else { return Ok(()) };
        let id = *id;
        self.memory().scrubbed = Some(id);
        let blobs = self.generations.blobs().clone();
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
        if let Some(size) = self.remote.size(&layout::blob(&id)).await? {
            let private = facts.permissions().mode() & 0o077 == 0;
            self.fetch_in_time(&Asset { sha256: id, size }, private).await?;
        }
        Ok(())
    }

    /// Forgets what was not used for longest until the rest fits. What a next boot may need
    /// stays, and so does what the common store does not have.
    async fn evict(&self, found: Vec<(BlobId, Metadata)>) -> Result<()> {
        let Some(limit) = self.state.config().store.cache_size else { return Ok(()) };
        let mut total: u64 = found.iter().map(|(_, facts)| facts.len()).sum();
        if total <= limit {
            return Ok(());
        }
        let generations = self.generations.clone();
        let needed = blocking(move || {
            let mut needed = HashSet::new();
            for gateway in generations.gateways()? {
                let history = generations.history(&gateway)?;
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
        let mut others: Vec<_> =
            found.into_iter().filter(|(id, facts)| !needed.contains(id) && !young(facts)).collect();
        others.sort_by_key(|(_, facts)| facts.accessed().ok());
        for (id, facts) in others {
            if total <= limit {
                break;
            }
            if self.remote.size(&layout::blob(&id)).await? != Some(facts.len()) {
                continue;
            }
            let blobs = self.generations.blobs().clone();
            blocking(move || Ok(blobs.remove(&id)?)).await?;
            total -= facts.len();
            tracing::debug!("blob {id} is only in the common store now");
        }
        Ok(())
    }
}
