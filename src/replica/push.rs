use std::collections::BTreeSet;

use anyhow::Result;
use time::OffsetDateTime;

use super::Replica;
use super::blocking;
use super::layout;
use crate::fleet::Asset;
use crate::fleet::Event;
use crate::fleet::GatewayId;
use crate::fleet::Kind;
use crate::fleet::ObjectName;
use crate::fleet::parse_object;
use crate::store::blobs::Access;

/// More new objects of one gateway than this, after a long time without the common store
/// or a restart, go as one pack.
const MANY: usize = 64;

/// The files of a generation, if that is what an event is about.
pub(super) fn published(event: &Event) -> impl Iterator<Item = (&String, &Asset)> {
    let files = match &event.kind {
        Kind::Published { files, .. } => Some(files),
        _ => None,
    };
    files.into_iter().flatten()
}

impl Replica {
    /// Gives the common store what it does not have of a gateway, and says how many
    /// objects that were. The files of a generation go before it.
    pub(super) async fn push(
        &self,
        gateway: &GatewayId,
        remote: &BTreeSet<ObjectName>,
        seen: &mut BTreeSet<ObjectName>,
    ) -> Result<usize> {
        let (generations, id) = (self.generations.clone(), gateway.to_owned());
        let known: BTreeSet<_> = remote.union(seen).copied().collect();
        let news = blocking(move || {
            let news = generations.news(&id, &known)?;
            if news.new.len() <= MANY {
                return Ok(news);
            }
            generations.condense(&id, OffsetDateTime::now_utc())?;
            generations.news(&id, &known)
        });
        let news = news.await?;
        seen.extend(news.told);
        let mut pushed = 0;
        for name in news.new {
            let (generations, id) = (self.generations.clone(), gateway.to_owned());
            let bytes = blocking(move || generations.object(&id, name)).await?;
            // A pack has taken its place, and goes the next time.
            let Some(bytes) = bytes else { continue };
            let path = layout::object(gateway, name);
            let events = match parse_object(&path, name, &bytes) {
                Ok(events) => events,
                Err(error) => {
                    self.report_once(format!("not given to other hosts: {error:#}"));
                    continue;
                }
            };
            for (path, asset) in events.values().flat_map(|event| published(event)) {
                self.push_blob(Access::to(path), asset).await?;
            }
            self.remote.put(&path, bytes).await?;
            seen.insert(name);
            pushed += 1;
        }
        Ok(pushed)
    }
}
