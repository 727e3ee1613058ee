//! The shared store's facts about an object: its size, and the time when it was sent, by the clock of
//! the store.

use std::time::Duration;

use futures_util::TryStreamExt;
use object_store::ObjectMeta;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::client::Remote;
use super::error::Error;
use crate::replica::layout;

const TEXT: &[u8] = b"written by farmgate to learn the time, and deleted at once\n";

/// Facts of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::replica) struct Facts {
    pub(in crate::replica) size: u64,
    /// The time when it was sent, in milliseconds by the clock of the store.
    sent: i64,
}

/// A moment by the clock of the store.
#[derive(Clone, Copy, Debug)]
pub(in crate::replica) struct StoreTime(i64);

impl StoreTime {
    /// The moment that is so much later.
    pub(in crate::replica) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Facts {
    fn new(meta: &ObjectMeta) -> Self {
        Self { size: meta.size, sent: meta.last_modified.timestamp_millis() }
    }

    /// The time since it was sent; none if it is in the future.
    pub(in crate::replica) fn age(&self, now: StoreTime) -> Duration {
        Duration::from_millis(now.0.saturating_sub(self.sent).try_into().unwrap_or(0))
    }
}

impl Remote {
    /// The facts of an object; `None` if it does not exist.
    pub(in crate::replica) async fn facts(&self, path: &str) -> Result<Option<Facts>, Error> {
        match self.within_raw(self.store().head(&Path::from(path))).await? {
            Ok(meta) => Ok(Some(Facts::new(&meta))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(Error::from_object_store(&error)),
        }
    }

    /// Lists all objects below `prefix`, with their facts.
    pub(in crate::replica) async fn list_with_facts(
        &self,
        prefix: &str,
    ) -> Result<Vec<(String, Facts)>, Error> {
        let mut found = Vec::new();
        if self.is_directory() {
            // Its own listing ends at the first name that the library cannot parse.
            for path in self.list(prefix).await?.paths {
                if let Some(facts) = self.facts(&path).await? {
                    found.push((path, facts));
                }
            }
            return Ok(found);
        }
        let mut pages = self.store().list(Some(&Path::from(prefix)));
        while let Some(meta) = self.within(async { pages.try_next().await }).await? {
            found.push((meta.location.to_string(), Facts::new(&meta)));
        }
        Ok(found)
    }

    /// The time by the clock of the store, as it stamps an object that is sent now.
    pub(in crate::replica) async fn now(&self) -> Result<StoreTime, Error> {
        let path = layout::probe(&uuid::Uuid::new_v4());
        self.put(&path, TEXT.to_vec()).await?;
        let facts = self.facts(&path).await;
        self.delete(&path).await?;
        let facts =
            facts?.ok_or_else(|| Error::Other("does not have what was just written".into()))?;
        Ok(StoreTime(facts.sent))
    }
}
