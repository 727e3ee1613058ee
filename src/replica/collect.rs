//! Deletes files from the shared store that no kept generation names, while other hosts publish.
//! Touches the network, this host's events, and a clock that only goes forward.

use std::collections::BTreeMap;
use std::collections::HashSet;

use anyhow::anyhow;
use serde::Serialize;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::ages::Ages;
use super::blobs::BlobCache;
use super::blocking::blocking;
use super::exchange::Exchange;
use super::failure::Failure;
use super::layout;
use super::remote::Facts;
use super::remote::Remote;
use crate::fleet::BlobId;
use crate::store::State;
use crate::store::blobs::Access;
use crate::store::gc::Survey;

/// Most files that one run deletes.
const MOST: usize = 5000;

/// Files that are deleted between two looks.
const BATCH: usize = 500;

/// Files that a run deleted, or would delete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Freed {
    /// Files that were deleted from the shared store.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files of kept generations that it had lost, and that were sent again.
    pub restored: u64,
}

type Files = BTreeMap<(Access, BlobId), Facts>;

/// Deletes old files that nothing names.
pub(super) struct Collector<'a> {
    pub(super) state: &'a State,
    pub(super) remote: &'a Remote,
    pub(super) blobs: &'a BlobCache,
    pub(super) exchange: &'a Exchange,
}

impl Collector<'_> {
    /// Runs once. Refuses if there are events that this host cannot read, or does not have
    /// completely: they may name files.
    pub(super) async fn run(&self, dry_run: bool) -> Result<Freed, Failure> {
        let (ages, began) = (Ages::default(), Instant::now());
        // The files first: whatever named a file before it was listed is known after the pass.
        let now = self.remote.now().await?;
        let files = self.list().await?;
        let report = self.exchange.pass().await?;
        if report.left_out + report.held_back + report.failed > 0 {
            return Err(Failure::Local(anyhow!(
                "nothing is deleted from the store: some events in it cannot be read, or wait for \
                 their files, and may name others"
            )));
        }
        let state = self.state.clone();
        let survey = blocking(move || Ok(Survey::new(&state, OffsetDateTime::now_utc())?.kept()));
        let kept = survey.await?;
        let mut freed = Freed::default();
        let mut unnamed: Vec<_> = files
            .iter()
            .filter(|((access, id), facts)| {
                ages.is_old(facts.age(now)) && !is_named(&kept, *access, *id)
            })
            .collect();
        unnamed.truncate(MOST);
        for batch in unnamed.chunks(BATCH) {
            if !ages.may_delete(began.elapsed()) {
                break;
            }
            // Sent again since: a generation that is being published needs it.
            let there = if dry_run { files.clone() } else { self.list().await? };
            let same = batch.iter().filter(|(key, facts)| there.get(key) == Some(facts));
            let same: Vec<_> = same.collect();
            if !dry_run {
                if !ages.may_delete(began.elapsed()) {
                    break;
                }
                let paths = same.iter().map(|((access, id), _)| layout::blob(*access, id));
                self.remote.delete_all(paths.collect()).await?;
                self.blobs.forget(same.iter().map(|(key, _)| **key));
            }
            freed.blobs += same.len() as u64;
            freed.bytes += same.iter().map(|(_, facts)| facts.size).sum::<u64>();
        }
        if !dry_run {
            for (access, id) in kept.into_iter().filter(|key| !files.contains_key(key)) {
                // Older versions kept secrets among the public ones.
                if !files.contains_key(&(Access::Public, id)) && self.blobs.give(access, id).await?
                {
                    freed.restored += 1;
                }
            }
        }
        Ok(freed)
    }

    async fn list(&self) -> Result<Files, Failure> {
        let mut files = Files::new();
        for access in [Access::Public, Access::Private] {
            for (path, facts) in self.remote.list_with_facts(access.folder()).await? {
                let id = path.rsplit('/').next().and_then(|name| name.parse::<BlobId>().ok());
                if let Some(id) = id.filter(|id| layout::blob(access, id) == path) {
                    files.insert((access, id), facts);
                }
            }
        }
        Ok(files)
    }
}

/// Older versions kept secrets among the public blobs, and they are still fetched from there.
fn is_named(kept: &HashSet<(Access, BlobId)>, access: Access, id: BlobId) -> bool {
    kept.contains(&(access, id))
        || access == Access::Public && kept.contains(&(Access::Private, id))
}
