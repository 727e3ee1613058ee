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
use crate::store::generations::pack;
use crate::store::history::Events;
use crate::store::objects;
use crate::store::objects::ObjectName;

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
    /// of the same events, which counts once. An object that cannot be read could not be in
    /// the pack, so then nothing is done.
    pub(super) async fn compact(
        self: &Arc<Self>,
        gateway: &str,
        remote: &BTreeSet<ObjectName>,
    ) -> Result<()> {
        // Hosts that all find as many do not all do the work.
        let spread = (backoff::random() * (MOST / 4) as f64) as usize;
        if remote.len() <= MOST + spread {
            return Ok(());
        }
        let mut events = Events::new();
        for name in remote {
            let path = layout::object(gateway, *name);
            let (generations, id, name) = (self.generations.clone(), gateway.to_owned(), *name);
            let here = blocking(move || generations.object(&id, name)).await?;
            let bytes = match here {
                Some(bytes) => Some(bytes),
                None => self.remote.get(&path).await?,
            };
            // Somebody else is at it.
            let Some(bytes) = bytes else { return Ok(()) };
            match objects::parse(&path, name, &bytes) {
                Ok(found) => events.extend(found),
                Err(error) => {
                    self.report_once(format!(
                        "{gateway} keeps more objects than needed: {error:#}"
                    ));
                    return Ok(());
                }
            }
        }
        let Some((name, pack)) = pack(&events, OffsetDateTime::now_utc()) else { return Ok(()) };
        let bytes = serde_json::to_vec(&pack)?;
        self.remote.put(&layout::object(gateway, name), bytes).await?;
        let deletions = remote.iter().map(|name| {
            let (store, path) = (self.remote.clone(), layout::object(gateway, *name));
            async move { store.delete(&path).await }.boxed()
        });
        let deletions: Vec<_> = deletions.collect();
        let deletions = futures_util::stream::iter(deletions).buffer_unordered(AT_ONCE);
        deletions.try_collect::<Vec<()>>().await?;
        tracing::debug!(gateway, objects = remote.len(), "packed in the common store");
        Ok(())
    }
}
