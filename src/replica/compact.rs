use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;
use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::TryStreamExt;
use time::OffsetDateTime;

use super::Replica;
use super::backoff;
use super::blocking;
use super::layout;
use crate::fleet::Events;
use crate::fleet::GatewayId;
use crate::fleet::ObjectName;
use crate::fleet::format::Newer;
use crate::fleet::pack;
use crate::fleet::parse_object;

/// So many objects of a gateway are left in the common store before they are packed: every host
/// lists all of them in every pass.
const MOST: usize = 32;

/// So many objects are deleted at a time.
const AT_ONCE: usize = 8;

impl Replica {
    /// Lays the objects of a gateway in the common store together, once they are many.
    ///
    /// The pack holds what is in them and nothing is deleted but them: what others write
    /// meanwhile stays, and another host that does the same at the same time writes a pack
    /// of the same events, which counts once. What is damaged stays beside the pack. With an
    /// object of a newer version nothing is done: that one may know better what still matters.
    pub(super) async fn compact(
        self: &Arc<Self>,
        gateway: &GatewayId,
        remote: &BTreeSet<ObjectName>,
    ) -> Result<()> {
        // Hosts that all find as many do not all do the work.
        let spread = (backoff::random() * (MOST / 4) as f64) as usize;
        if remote.len() <= MOST + spread {
            return Ok(());
        }
        let (mut events, mut packed) = (Events::new(), Vec::new());
        for name in remote {
            match self.for_pack(gateway, *name).await? {
                Some(Ok(found)) => {
                    events.extend(found);
                    packed.push(layout::object(gateway, *name));
                }
                Some(Err(error)) if error.is::<Newer>() => {
                    self.report_once(format!(
                        "{gateway} keeps more objects than needed: {error:#}"
                    ));
                    return Ok(());
                }
                Some(Err(error)) => {
                    self.report_once(format!("left beside the packs of {gateway}: {error:#}"));
                }
                // Somebody else is at it.
                None => return Ok(()),
            }
        }
        if packed.len() < 2 {
            return Ok(());
        }
        let Some((name, pack)) = pack(&events, OffsetDateTime::now_utc()) else { return Ok(()) };
        let bytes = serde_json::to_vec(&pack)?;
        self.remote.put(&layout::object(gateway, name), bytes).await?;
        let deletions = packed.into_iter().map(|path| {
            let store = self.remote.clone();
            async move { store.delete(&path).await }.boxed()
        });
        let deletions: Vec<_> = deletions.collect();
        let deletions = futures_util::stream::iter(deletions).buffer_unordered(AT_ONCE);
        deletions.try_collect::<Vec<()>>().await?;
        tracing::debug!(gateway_id = %gateway, objects = remote.len(), "packed in the common store");
        Ok(())
    }

    /// The events of an object, from the copy here if that is whole, else from the store;
    /// `None` if it is not there any more.
    async fn for_pack(
        self: &Arc<Self>,
        gateway: &GatewayId,
        name: ObjectName,
    ) -> Result<Option<Result<Events>>> {
        let path = layout::object(gateway, name);
        let (generations, id) = (self.generations.clone(), gateway.to_owned());
        let here = blocking(move || generations.object(&id, name)).await?;
        if let Some(Ok(events)) = here.map(|bytes| parse_object(&path, name, &bytes)) {
            return Ok(Some(Ok(events)));
        }
        let bytes = self.remote.get(&path).await?;
        Ok(bytes.map(|bytes| parse_object(&path, name, &bytes)))
    }
}
