//! Delivers what the shared store does not have of a gateway. The files of a generation go before
//! the event that publishes it.

use std::collections::BTreeSet;
use std::sync::Arc;

use time::OffsetDateTime;

use super::on_disk::on_disk;
use crate::fleet::Asset;
use crate::fleet::Event;
use crate::fleet::Events;
use crate::fleet::GatewayId;
use crate::fleet::History;
use crate::fleet::Kind;
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

/// Says whether files must be there before an event.
fn names_files(event: &Event) -> bool {
    matches!(event.kind, Kind::Published { .. } | Kind::Activated { .. } | Kind::Pinned { .. })
}

/// The files that must be there before `new` events: of generations that they publish, and of those
/// that they choose again, which another host may have dropped unknown to this one. `all` are the
/// gateway's.
fn files(all: &Events, new: &Events) -> Vec<(Access, Asset)> {
    let history = History::fold(all);
    let named = new.iter().filter_map(|(id, event)| match &event.kind {
        Kind::Published { .. } => Some(*id),
        Kind::Activated { generation } | Kind::Pinned { generation } => Some(*generation),
        _ => None,
    });
    let generations: BTreeSet<_> = named.collect();
    let alive = generations.into_iter().filter_map(|id| history.by_id(id));
    let alive = alive.filter(|generation| !history.is_dropped(generation.number));
    let files = alive.flat_map(|generation| generation.files());
    files.map(|(path, asset)| (Access::to(path), asset.clone())).collect()
}

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
            let (bytes, events) = (object.bytes.clone(), object.events.clone());
            let files = match events.values().any(|event| names_files(event)) {
                true => on_disk(local, move |local| Ok(files(&local.events()?, &events))).await?,
                false => Vec::new(),
            };
            self.blobs.deliver(&files).await?;
            self.remote.put(&layout::object(gateway, name), bytes).await?;
            self.blobs.published(&files);
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
