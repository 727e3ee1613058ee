//! One pass over all gateways, and deliveries between passes.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::StreamExt;

use super::acts::ActExchange;
use super::events::EventExchange;
use super::records::RecordExchange;
use super::report::Report;
use crate::fleet::GatewayId;
use crate::fleet::ObjectName;
use crate::replica::blobs::BlobCache;
use crate::replica::blocking::blocking;
use crate::replica::failure::Failure;
use crate::replica::layout;
use crate::replica::layout::Listing;
use crate::replica::notices::Notices;
use crate::replica::remote::Remote;
use crate::store::State;
use crate::store::generations::Generations;

/// Gateways that are exchanged at a time.
const CONCURRENCY: usize = 8;

/// Exchanges events and records with the shared store.
pub(in crate::replica) struct Exchange {
    remote: Remote,
    generations: Generations,
    records: RecordExchange,
    acts: ActExchange,
    events: EventExchange,
    notices: Notices,
}

impl Exchange {
    pub(in crate::replica) fn new(
        state: &State,
        remote: &Remote,
        generations: &Generations,
        blobs: &Arc<BlobCache>,
    ) -> Self {
        Self {
            records: RecordExchange::new(state, remote.clone()),
            acts: ActExchange::new(state, remote.clone()),
            events: EventExchange::new(remote, generations, blobs),
            remote: remote.clone(),
            generations: generations.clone(),
            notices: Notices::default(),
        }
    }

    /// Exchanges everything once. It can be interrupted anywhere: each object is complete, or not
    /// there yet.
    pub(in crate::replica) async fn pass(&self) -> Result<Report, Failure> {
        // Records first: they say which gateways were removed.
        let revisions = self.list(layout::RECORDS, layout::parse_revision).await?;
        let records = self.records.exchange(revisions).await?;
        let mut remote = self.list(layout::GATEWAYS, ObjectName::parse).await?;
        let generations = self.generations.clone();
        let mut gateways = blocking(move || generations.gateways()).await?;
        gateways.extend(remote.keys().cloned());

        let exchanges: Vec<_> = gateways
            .into_iter()
            .map(|gateway| {
                let names = remote.remove(&gateway).unwrap_or_default();
                let removed = records.removed.contains(&gateway);
                async move {
                    if removed {
                        self.events.forget(&gateway, &names).await
                    } else {
                        self.events.exchange(&gateway, &names).await
                    }
                }
                .boxed()
            })
            .collect();
        let mut reports = futures_util::stream::iter(exchanges).buffer_unordered(CONCURRENCY);
        let mut sum = Report { records: records.changed, ..Report::default() };
        let mut failed = Vec::new();
        while let Some(report) = reports.next().await {
            match report {
                Ok(report) => sum += report,
                // One slow answer does not abort the exchanges that have begun.
                Err(error) => failed.push(error),
            }
            if failed.len() > CONCURRENCY {
                break;
            }
        }
        if failed.is_empty() {
            self.acts.exchange().await;
        }
        failed.into_iter().next().map_or(Ok(sum), Err)
    }

    /// Delivers the new events of some gateways, without listing the shared store, and returns how
    /// many objects these were. The next pass delivers those of gateways that no pass has exchanged
    /// yet.
    pub(in crate::replica) async fn deliver(
        &self,
        gateways: BTreeSet<GatewayId>,
    ) -> Result<usize, Failure> {
        let deliveries: Vec<_> = gateways
            .into_iter()
            .map(|gateway| async move { self.events.deliver(&gateway).await }.boxed())
            .collect();
        let mut deliveries = futures_util::stream::iter(deliveries).buffer_unordered(CONCURRENCY);
        let mut pushed = 0;
        while let Some(delivered) = deliveries.next().await {
            pushed += delivered?;
        }
        Ok(pushed)
    }

    /// Counts the objects of this host that the shared store does not have yet.
    pub(in crate::replica) fn undelivered(&self) -> anyhow::Result<usize> {
        let mut undelivered = 0;
        for gateway in self.generations.gateways()? {
            let objects = self.generations.objects(&gateway)?;
            undelivered += self.events.undelivered(&gateway, &objects);
        }
        Ok(undelivered)
    }

    /// Lists a folder of the shared store, by gateway.
    async fn list<T: Ord>(
        &self,
        folder: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<BTreeMap<GatewayId, BTreeSet<T>>, Failure> {
        let listed = self.remote.list(folder).await?;
        self.notices.strays(&listed.strays, self.remote.shown());
        let listing = Listing::group(listed.paths, parse);
        for path in &listing.foreign {
            self.notices.error(format!(
                "ignored {path:?} in {}: farmgate has not written it",
                self.remote.shown()
            ));
        }
        Ok(listing.gateways)
    }
}
