//! Exchanges the records of gateways: fetches the revisions of other hosts, merges them with this
//! host's, and leaves one that equals the merge in the shared store.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use anyhow::Context;
use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::TryStreamExt;
use time::OffsetDateTime;

use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::replica::blocking::blocking;
use crate::replica::failure::Failure;
use crate::replica::layout;
use crate::replica::notices::Notices;
use crate::replica::remote::Remote;
use crate::store::State;
use crate::store::records;
use crate::store::records::LocalRecord;
use crate::store::records::Records;
use crate::store::records::Revisions;

/// Records that are exchanged at a time.
const CONCURRENCY: usize = 8;

/// Exchanges records.
pub(super) struct RecordExchange {
    remote: Remote,
    records: Records,
    notices: Notices,
    cache: Mutex<Cache>,
}

/// A cache of what earlier passes learned; losing it only repeats work.
#[derive(Default)]
struct Cache {
    /// Each record as both sides had it after the last merge.
    merged: BTreeMap<GatewayId, LocalRecord>,
    /// Revisions in the shared store that this program cannot read.
    refused: BTreeSet<(GatewayId, EventId)>,
}

/// The result for all records.
pub(super) struct ExchangedRecords {
    /// The number of records that changed on this host.
    pub(super) changed: usize,
    /// Gateways that were removed.
    pub(super) removed: BTreeSet<GatewayId>,
}

#[derive(Default)]
struct Exchanged {
    changed: bool,
    removed: bool,
}

impl RecordExchange {
    pub(super) fn new(state: &State, remote: Remote) -> Self {
        Self {
            remote,
            records: Records::new(state),
            notices: Notices::default(),
            cache: Mutex::default(),
        }
    }

    /// Exchanges all records; `listed` names the revisions in the shared store.
    pub(super) async fn exchange(
        &self,
        mut listed: BTreeMap<GatewayId, BTreeSet<EventId>>,
    ) -> Result<ExchangedRecords, Failure> {
        let records = self.records.clone();
        let mut local = blocking(move || records.local()).await?;
        for error in local.damaged {
            self.notices.error(format!("a record could not be exchanged: {error:#}"));
        }
        let mut ids: BTreeSet<_> = local.gateways.keys().cloned().collect();
        ids.extend(listed.keys().cloned());
        let exchanges: Vec<_> = ids
            .into_iter()
            .map(|id| {
                let local = local.gateways.remove(&id).unwrap_or_default();
                let remote = listed.remove(&id).unwrap_or_default();
                async move {
                    let exchanged = self.exchange_one(&id, local, &remote).await?;
                    Ok::<_, Failure>((id, exchanged))
                }
                .boxed()
            })
            .collect();
        let exchanges = futures_util::stream::iter(exchanges).buffer_unordered(CONCURRENCY);
        let none = ExchangedRecords { changed: 0, removed: BTreeSet::new() };
        exchanges
            .try_fold(none, |mut sum, (id, exchanged)| async move {
                sum.changed += usize::from(exchanged.changed);
                if exchanged.removed {
                    sum.removed.insert(id);
                }
                Ok(sum)
            })
            .await
    }

    /// Exchanges one record. An error of this host's concerns it alone.
    async fn exchange_one(
        &self,
        id: &GatewayId,
        local: LocalRecord,
        remote: &BTreeSet<EventId>,
    ) -> Result<Exchanged, Failure> {
        match self.try_exchange_one(id, local, remote).await {
            Err(Failure::Local(error)) => {
                self.notices.error(format!("the record of {id} could not be exchanged: {error:#}"));
                // A removed gateway never comes back.
                let merged = self.cache().merged.get(id).cloned();
                let removed = merged.is_some_and(|merged| merged.record.is_none());
                Ok(Exchanged { changed: false, removed })
            }
            result => result,
        }
    }

    async fn try_exchange_one(
        &self,
        id: &GatewayId,
        local: LocalRecord,
        remote: &BTreeSet<EventId>,
    ) -> Result<Exchanged, Failure> {
        if let Some(unchanged) = self.unchanged(id, &local, remote) {
            return Ok(unchanged);
        }
        let others = self.fetch(id, remote.difference(&local.revisions)).await?;
        let (records, owner) = (self.records.clone(), id.clone());
        let now = OffsetDateTime::now_utc();
        let merged = blocking(move || records.merge_and_apply(&owner, &others, now)).await?;
        let Some(merged) = merged else { return Ok(Exchanged::default()) };
        let removed = merged.revision.removed;
        if merged.changed {
            tracing::info!(gateway_id = %id, removed, "record changed");
        }
        if !remote.contains(&merged.name) {
            let bytes = serde_json::to_vec(&merged.revision).context("cannot write a revision")?;
            self.remote.put(&layout::revision(id, merged.name), bytes).await?;
        }
        // Deletes only what the remaining revision contains, too.
        let superseded = remote.intersection(&merged.superseded);
        let superseded: Vec<_> = superseded.map(|name| layout::revision(id, *name)).collect();
        if !superseded.is_empty() {
            self.remote.delete_all(superseded).await?;
        }
        let now_here = LocalRecord {
            record: merged.record,
            revisions: [merged.name].into(),
            left_over: false,
        };
        self.cache().merged.insert(id.clone(), now_here);
        Ok(Exchanged { changed: merged.changed, removed })
    }

    /// The result for a record if neither side has anything new; `None` if one has.
    fn unchanged(
        &self,
        id: &GatewayId,
        local: &LocalRecord,
        remote: &BTreeSet<EventId>,
    ) -> Option<Exchanged> {
        let cache = self.cache();
        let merged = cache.merged.get(id).filter(|merged| *merged == local)?;
        let readable = remote.iter().filter(|name| !cache.refused.contains(&(id.clone(), **name)));
        let removed = merged.record.is_none();
        readable.eq(&merged.revisions).then_some(Exchanged { changed: false, removed })
    }

    /// Fetches revisions. Those that this program cannot read are reported and left out.
    async fn fetch(
        &self,
        id: &GatewayId,
        names: impl Iterator<Item = &EventId>,
    ) -> Result<Revisions, Failure> {
        let mut others = Revisions::new();
        for name in names {
            if self.cache().refused.contains(&(id.clone(), *name)) {
                continue;
            }
            let path = layout::revision(id, *name);
            let Some(bytes) = self.remote.get(&path).await? else { continue };
            match records::parse(&format!("{}/{path}", self.remote.shown()), &bytes) {
                Ok(revision) => drop(others.insert(*name, revision)),
                Err(error) => {
                    tracing::error!("left out: {error:#}");
                    self.cache().refused.insert((id.clone(), *name));
                }
            }
        }
        Ok(others)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
