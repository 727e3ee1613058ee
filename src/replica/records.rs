use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;
use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::TryStreamExt;
use time::OffsetDateTime;

use super::Replica;
use super::blocking;
use super::error::Error;
use super::layout;
use super::layout::Listing;
use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::store::records;
use crate::store::records::Records;
use crate::store::records::Revisions;

/// So many records are brought in step at a time.
const AT_ONCE: usize = 8;

impl Replica {
    /// Brings the gateways' records in step, and says how many changed here.
    pub(super) async fn exchange_records(self: &Arc<Self>) -> Result<usize> {
        let listed = self.list(layout::RECORDS).await?;
        let mut remote = Listing::sort(listed, layout::parse_revision);
        self.report_foreign(&remote.foreign);
        let records = Records::new(&self.state);
        let (mut ids, damaged) = blocking(move || records.ids()).await?;
        for error in damaged {
            self.report_once(format!("a record is not in step: {error:#}"));
        }
        ids.extend(remote.gateways.keys().cloned());
        let exchanges: Vec<_> = ids
            .into_iter()
            .map(|id| {
                let (replica, remote) = (self.clone(), remote.gateways.remove(&id));
                async move { replica.exchange_record(&id, &remote.unwrap_or_default()).await }
                    .boxed()
            })
            .collect();
        let changed = futures_util::stream::iter(exchanges).buffer_unordered(AT_ONCE);
        changed.try_fold(0, |sum, changed| async move { Ok(sum + usize::from(changed)) }).await
    }

    /// The same for one record. What is wrong with it here keeps no other from being
    /// brought in step.
    async fn exchange_record(&self, id: &GatewayId, remote: &BTreeSet<EventId>) -> Result<bool> {
        match self.try_exchange_record(id, remote).await {
            Err(error) if error.downcast_ref::<Error>().is_none() => {
                self.report_once(format!("the record of {id} is not in step: {error:#}"));
                Ok(false)
            }
            result => result,
        }
    }

    async fn try_exchange_record(
        &self,
        id: &GatewayId,
        remote: &BTreeSet<EventId>,
    ) -> Result<bool> {
        let records = Records::new(&self.state);
        let (ours, owner) = (records.clone(), id.to_owned());
        let mut known = blocking(move || ours.read(&owner)).await?;
        let mut others = Revisions::new();
        for name in remote {
            if known.contains_key(name) {
                continue;
            }
            let path = layout::revision(id, *name);
            if self.memory().refused.contains(&path) {
                continue;
            }
            let Some(bytes) = self.remote.get(&path).await? else { continue };
            match records::parse(&format!("{}/{path}", self.remote.shown()), &bytes) {
                Ok(revision) => drop(others.insert(*name, revision)),
                Err(error) => {
                    tracing::error!("left out: {error:#}");
                    self.memory().refused.insert(path);
                }
            }
        }
        known.extend(others.iter().map(|(name, revision)| (*name, revision.clone())));
        let owner = id.to_owned();
        let settled =
            blocking(move || records.settle(&owner, &others, OffsetDateTime::now_utc())).await?;
        let Some(settled) = settled else { return Ok(false) };
        if settled.changed {
            tracing::info!(gateway_id = %id, removed = settled.revision.removed, "record changed");
        }
        if settled.revision.removed {
            self.memory().removed.insert(id.to_owned());
        }
        if !remote.contains(&settled.name) {
            let bytes = serde_json::to_vec(&settled.revision)?;
            self.remote.put(&layout::revision(id, settled.name), bytes).await?;
        }
        // Only what is known to be in the one that stays.
        for name in remote.intersection(&settled.covered) {
            self.remote.delete(&layout::revision(id, *name)).await?;
        }
        Ok(settled.changed)
    }
}
