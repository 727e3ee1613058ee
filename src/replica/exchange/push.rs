//! Delivers what the shared store does not have of a gateway. The files of a generation go before
//! the event that publishes it.

use std::collections::BTreeSet;
use std::sync::Arc;

use time::OffsetDateTime;

use super::on_disk::on_disk;
use super::published::published;
use crate::fleet::GatewayId;
use crate::fleet::ObjectName;
use crate::replica::blobs::BlobCache;
use crate::replica::failure::Failure;
use crate::replica::layout;
use crate::replica::notices::Notices;
use crate::replica::remote::Remote;
use crate::store::blobs::Access;
use crate::store::exchange::LocalObjects;
use crate::store::generations::Generations;

/// More new objects of one gateway than this are delivered as one pack, for example after a restart
/// or a long time without the shared store.
const MANY: usize = 64;

/// Delivers objects.
pub(super) struct Pusher {
    remote: Remote,
    generations: Generations,
    blobs: Arc<BlobCache>,
    notices: Notices,
}

impl Pusher {
    pub(super) fn new(remote: Remote, generations: Generations, blobs: Arc<BlobCache>) -> Self {
        Self { remote, generations, blobs, notices: Notices::default() }
    }

    /// Delivers the objects of `local` that are new to the shared store, and returns how many; adds
    /// the names of those that need no more deliveries to `known`. `first` is true if nothing is
    /// known yet about earlier deliveries.
    pub(super) async fn push(
        &self,
        gateway: &GatewayId,
        local: &mut LocalObjects,
        remote: &BTreeSet<ObjectName>,
        known: &mut BTreeSet<ObjectName>,
        first: bool,
    ) -> Result<usize, Failure> {
        let there: BTreeSet<_> = remote.union(known).copied().collect();
        let unknown: Vec<_> = local.names().difference(&there).copied().collect();
        if unknown.is_empty() {
            known.extend(local.names());
            return Ok(0);
        }
        let packed = unknown.iter().any(|name| matches!(name, ObjectName::Pack(_)));
        // Single events that are not known by name were appended since the last exchange.
        let by_name = !first && !packed && unknown.len() <= MANY;
        let there = Arc::new(there);
        let compared = there.clone();
        let compare = move |local: &mut LocalObjects| {
            if by_name { local.news_by_name(&compared) } else { local.news(&compared) }
        };
        let mut news = on_disk(local, compare).await?;
        if news.new.len() > MANY {
            self.condense(gateway, local).await?;
            news = on_disk(local, move |local| local.news(&there)).await?;
        }
        known.extend(news.covered);
        let mut pushed = 0;
        for name in news.new {
            if let Some(error) = local.why_unreadable(name) {
                self.notices.error(format!("not delivered: {error:#}"));
            }
            let Some(object) = local.get(name) else { continue };
            for (path, asset) in object.events.values().flat_map(|event| published(event)) {
                self.blobs.deliver(Access::to(path), asset).await?;
            }
            self.remote.put(&layout::object(gateway, name), object.bytes.clone()).await?;
            known.insert(name);
            pushed += 1;
        }
        Ok(pushed)
    }

    /// Packs the objects of this host into one.
    pub(super) async fn condense(
        &self,
        gateway: &GatewayId,
        local: &mut LocalObjects,
    ) -> anyhow::Result<()> {
        let (generations, id) = (self.generations.clone(), gateway.clone());
        on_disk(local, move |local| {
            generations.condense(&id, OffsetDateTime::now_utc())?;
            local.relist()
        })
        .await
    }
}
