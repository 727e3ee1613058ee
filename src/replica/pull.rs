use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;

use super::Replica;
use super::blocking;
use super::error::Error;
use super::layout;
use super::pass::Report;
use super::push::published;
use crate::fleet::Asset;
use crate::fleet::Events;
use crate::fleet::GatewayId;
use crate::fleet::Generation;
use crate::fleet::History;
use crate::fleet::ObjectName;
use crate::fleet::parse_object;
use crate::store::blobs::Access;

impl Replica {
    /// Takes in what other hosts wrote about a gateway.
    pub(super) async fn pull(
        self: &Arc<Self>,
        gateway: &GatewayId,
        remote: &BTreeSet<ObjectName>,
        seen: &mut BTreeSet<ObjectName>,
    ) -> Result<Report> {
        let mut report = Report::default();
        let (generations, id) = (self.generations.clone(), gateway.to_owned());
        let first = seen.is_empty();
        let (local, damaged) = blocking(move || {
            // Whoever just started has to read all of them anyway.
            let damaged = if first { generations.damaged(&id)? } else { BTreeSet::new() };
            Ok((generations.objects(&id)?, damaged))
        })
        .await?;
        // What rots here may be whole there.
        let known: BTreeSet<_> =
            local.union(seen).filter(|name| !damaged.contains(name)).copied().collect();
        for name in remote.difference(&known).copied() {
            let path = layout::object(gateway, name);
            let Some((bytes, events)) = self.read_object(&path, name).await? else {
                continue;
            };
            // A generation without its files must not come into sight: it would be served.
            let whole = match name {
                ObjectName::Event(_) => {
                    let files = events.values().flat_map(|event| published(event));
                    self.fetch_files(gateway, files).await
                }
                ObjectName::Pack(_) => self.fetch_for_pack(gateway, &events).await?,
            };
            if !whole {
                report.held_back += 1;
                continue;
            }
            let (generations, id) = (self.generations.clone(), gateway.to_owned());
            blocking(move || generations.take_in(&id, name, &bytes)).await?;
            seen.insert(name);
            report.pulled += 1;
        }
        if report.pulled > 0 {
            self.memory().wanting.insert(gateway.to_owned());
        }
        self.fetch_wanted(gateway).await?;
        let refused = remote.iter().map(|name| layout::object(gateway, *name));
        report.left_out = refused.filter(|path| self.memory().refused.contains(path)).count();
        Ok(report)
    }

    /// An object and its events; `None` if it is not there any more, or means nothing to
    /// this program. That does not change, so it is found out once.
    async fn read_object(
        &self,
        path: &str,
        name: ObjectName,
    ) -> Result<Option<(Vec<u8>, Events)>, Error> {
        if self.memory().refused.contains(path) {
            return Ok(None);
        }
        let place = format!("{}/{path}", self.remote.shown());
        let refuse = |why: &dyn std::fmt::Display| {
            tracing::error!("left out {place}: {why}");
            self.memory().refused.insert(path.to_owned());
            Ok(None)
        };
        match self.remote.get(path).await {
            Ok(Some(bytes)) => match parse_object(&place, name, &bytes) {
                Ok(events) => Ok(Some((bytes, events))),
                Err(error) => refuse(&format!("{error:#}")),
            },
            Ok(None) => Ok(None),
            Err(error @ Error::TooLarge(_)) => refuse(&format!("the store {error}")),
            Err(error) => Err(error),
        }
    }

    async fn fetch_files(
        self: &Arc<Self>,
        gateway: &GatewayId,
        files: impl Iterator<Item = (&String, &Asset)>,
    ) -> bool {
        for (path, asset) in files {
            if let Err(error) = self.fetch_in_time(asset, Access::to(path)).await {
                self.report_once(format!(
                    "a new generation of {gateway} waits for its file {path}: {error}"
                ));
                return false;
            }
        }
        true
    }

    /// Fetches what the next boot needs if a pack comes to count, and says whether it may. Of
    /// the many generations in a pack most will never be booted again.
    async fn fetch_for_pack(self: &Arc<Self>, gateway: &GatewayId, pack: &Events) -> Result<bool> {
        let (generations, id) = (self.generations.clone(), gateway.to_owned());
        let mut events = blocking(move || generations.readable_events(&id)).await?;
        let now = History::fold(&events);
        events.extend(pack.iter().map(|(name, event)| (*name, event.clone())));
        let then = History::fold(&events);
        let served = |history: &History| [history.pinned(), history.current()].map(|g| g.cloned());
        let before = served(&now);
        let new =
            served(&then).into_iter().flatten().filter(|g| !before.contains(&Some(g.clone())));
        for generation in new {
            if !self.fetch_files(gateway, generation.files().iter()).await {
                // Who has nothing to boot from loses nothing by it: what is missing is
                // waited for.
                return Ok(now.current().is_none());
            }
        }
        Ok(true)
    }

    /// Fetches the files that the next boots of a gateway may need.
    async fn fetch_wanted(self: &Arc<Self>, gateway: &GatewayId) -> Result<()> {
        if !self.memory().wanting.contains(gateway) {
            return Ok(());
        }
        let (generations, id) = (self.generations.clone(), gateway.to_owned());
        let history = blocking(move || Ok(generations.readable(&id)?.history)).await?;
        let mut missing = false;
        for generation in matter(&history) {
            for (path, asset) in generation.files() {
                missing |= self.fetch_in_time(asset, Access::to(path)).await.is_err();
            }
        }
        if !missing {
            self.memory().wanting.remove(gateway);
        }
        Ok(())
    }
}

/// The generations of which the next boots may need files.
pub(super) fn matter(history: &History) -> impl Iterator<Item = &Arc<Generation>> {
    let all = [
        history.current(),
        history.pinned(),
        history.last_good(),
        history.in_use(None),
        history.previous(),
    ];
    all.into_iter().flatten()
}
