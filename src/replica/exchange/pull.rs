//! Fetches the events that other hosts wrote about a gateway. A generation becomes visible once its
//! files are here.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use super::on_disk::on_disk;
use super::published::published;
use super::report::Report;
use crate::fleet::Asset;
use crate::fleet::Events;
use crate::fleet::GatewayId;
use crate::fleet::History;
use crate::fleet::Kind;
use crate::fleet::ObjectName;
use crate::fleet::format::Newer;
use crate::fleet::parse_object;
use crate::replica::blobs::BlobCache;
use crate::replica::blobs::generations_to_keep;
use crate::replica::failure::Failure;
use crate::replica::layout;
use crate::replica::notices::Notices;
use crate::replica::remote::Error;
use crate::replica::remote::Remote;
use crate::store::blobs::Access;
use crate::store::exchange::LocalObjects;
use crate::store::objects::Object;

/// Fetches objects.
pub(super) struct Puller {
    remote: Remote,
    blobs: Arc<BlobCache>,
    notices: Notices,
    cache: Mutex<BTreeMap<GatewayId, Cache>>,
}

/// A cache of what earlier passes learned of a gateway; losing it only repeats work, or leaves it
/// to the next boot.
#[derive(Debug, Default)]
struct Cache {
    /// The next boot may need files that are not here yet.
    needs_files: bool,
    /// Objects in the shared store that this program cannot use.
    refused: Refused,
    /// Objects that were fetched, and wait for files.
    held_back: BTreeMap<ObjectName, Object>,
}

/// Objects in the shared store that this program cannot use, and why.
pub(super) type Refused = BTreeMap<ObjectName, Refusal>;

/// A permanent reason why an object cannot be used.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// A newer farmgate wrote it.
    pub(super) newer: bool,
    pub(super) why: String,
}

impl Puller {
    pub(super) fn new(remote: Remote, blobs: Arc<BlobCache>) -> Self {
        Self { remote, blobs, notices: Notices::default(), cache: Mutex::default() }
    }

    /// Fetches the objects of `remote` that are neither in `local` nor in `known`. `first` is true
    /// after a restart, and makes this host look for damage of its own.
    pub(super) async fn pull(
        &self,
        gateway: &GatewayId,
        local: &mut LocalObjects,
        remote: &BTreeSet<ObjectName>,
        known: &mut BTreeSet<ObjectName>,
        first: bool,
    ) -> Result<Report, Failure> {
        self.cache(gateway, |cache| {
            cache.held_back.retain(|name, _| remote.contains(name));
            cache.refused.retain(|name, _| remote.contains(name));
        });
        // An object damaged here may be intact there.
        let damaged =
            if first { on_disk(local, LocalObjects::damaged).await? } else { BTreeSet::new() };
        let missing: Vec<_> = remote
            .iter()
            .filter(|name| {
                damaged.contains(name) || !local.names().contains(name) && !known.contains(name)
            })
            .copied()
            .collect();
        let mut report = Report::default();
        let mut fetched = Vec::new();
        for name in missing {
            fetched.extend(self.fetch(gateway, name).await?.map(|object| (name, object)));
        }
        // Files of generations that were dropped since are not in the store any more.
        let dropped: BTreeSet<_> = fetched
            .iter()
            .flat_map(|(_, object)| object.events.values())
            .filter_map(|event| match event.kind {
                Kind::Dropped { generation, .. } => Some(generation),
                _ => None,
            })
            .collect();
        for (name, object) in fetched {
            let complete = match name {
                ObjectName::Event(id) if dropped.contains(&id) => true,
                ObjectName::Event(_) => {
                    let files = object.events.values().flat_map(|event| published(event));
                    self.fetch_files(gateway, files).await
                }
                ObjectName::Pack(_) => self.fetch_for_pack(gateway, local, &object.events).await?,
            };
            if !complete {
                self.cache(gateway, |cache| drop(cache.held_back.insert(name, object)));
                report.held_back += 1;
                continue;
            }
            on_disk(local, move |local| local.take_in(name, object)).await?;
            known.insert(name);
            report.pulled += 1;
        }
        if report.pulled > 0 {
            self.cache(gateway, |cache| cache.needs_files = true);
        }
        self.fetch_needed(gateway, local).await?;
        report.left_out = self.refused(gateway).len();
        Ok(report)
    }

    /// Objects of a gateway that this program cannot use.
    pub(super) fn refused(&self, gateway: &GatewayId) -> Refused {
        self.cache(gateway, |cache| cache.refused.clone())
    }

    /// Drops what is cached of a removed gateway.
    pub(super) fn forget(&self, gateway: &GatewayId) {
        self.lock().remove(gateway);
    }

    /// Fetches an object; `None` if it is not there any more, or cannot be used.
    async fn fetch(&self, gateway: &GatewayId, name: ObjectName) -> Result<Option<Object>, Error> {
        let held_back = self.cache(gateway, |cache| cache.held_back.remove(&name));
        if held_back.is_some() || self.cache(gateway, |cache| cache.refused.contains_key(&name)) {
            return Ok(held_back);
        }
        let path = layout::object(gateway, name);
        let place = format!("{}/{path}", self.remote.shown());
        let refusal = match self.remote.get(&path).await {
            Ok(Some(bytes)) => match parse_object(&place, name, &bytes) {
                Ok(events) => return Ok(Some(Object { bytes, events: Arc::new(events) })),
                Err(error) => Refusal { newer: error.is::<Newer>(), why: format!("{error:#}") },
            },
            Ok(None) => return Ok(None),
            Err(error @ Error::TooLarge(_)) => {
                Refusal { newer: false, why: format!("the store {error}") }
            }
            Err(error) => return Err(error),
        };
        tracing::error!("left out {place}: {}", refusal.why);
        self.cache(gateway, |cache| drop(cache.refused.insert(name, refusal)));
        Ok(None)
    }

    async fn fetch_files(
        &self,
        gateway: &GatewayId,
        files: impl Iterator<Item = (&String, &Asset)>,
    ) -> bool {
        for (path, asset) in files {
            if let Err(error) = self.blobs.fetch_fully(asset, Access::to(path)).await {
                self.notices.error(format!(
                    "a new generation of {gateway} waits for its file {path}: {error}"
                ));
                return false;
            }
        }
        true
    }

    /// Fetches the files that the next boot needs once a pack counts, and returns whether the pack
    /// may count. Most generations in a pack are never booted again.
    async fn fetch_for_pack(
        &self,
        gateway: &GatewayId,
        local: &mut LocalObjects,
        pack: &Events,
    ) -> Result<bool, Failure> {
        let mut events = on_disk(local, LocalObjects::events).await?;
        let now = History::fold(&events);
        events.extend(pack.iter().map(|(name, event)| (*name, event.clone())));
        let then = History::fold(&events);
        let served = |history: &History| [history.pinned(), history.current()].map(|g| g.cloned());
        let before = served(&now);
        let new =
            served(&then).into_iter().flatten().filter(|g| !before.contains(&Some(g.clone())));
        for generation in new {
            if !self.fetch_files(gateway, generation.files().iter()).await {
                // A host with nothing to serve loses nothing: its gateways wait for the files.
                return Ok(now.current().is_none());
            }
        }
        Ok(true)
    }

    /// Fetches the files that the next boots of a gateway may need.
    async fn fetch_needed(
        &self,
        gateway: &GatewayId,
        local: &mut LocalObjects,
    ) -> Result<(), Failure> {
        if !self.cache(gateway, |cache| cache.needs_files) {
            return Ok(());
        }
        let history = on_disk(local, |local| Ok(History::fold(&local.events()?))).await?;
        let mut missing = false;
        for generation in generations_to_keep(&history) {
            for (path, asset) in generation.files() {
                missing |= self.blobs.fetch_fully(asset, Access::to(path)).await.is_err();
            }
        }
        if !missing {
            self.cache(gateway, |cache| cache.needs_files = false);
        }
        Ok(())
    }

    fn cache<T>(&self, gateway: &GatewayId, work: impl FnOnce(&mut Cache) -> T) -> T {
        work(self.lock().entry(gateway.clone()).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<GatewayId, Cache>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
