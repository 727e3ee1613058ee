//! Packs the objects of a gateway in the shared store once there are many: every host lists all of
//! them in every pass.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context;
use time::OffsetDateTime;

use super::on_disk::on_disk;
use super::pull::Refused;
use crate::backoff;
use crate::fleet::Events;
use crate::fleet::GatewayId;
use crate::fleet::ObjectName;
use crate::fleet::format::Newer;
use crate::fleet::pack;
use crate::fleet::parse_object;
use crate::replica::failure::Failure;
use crate::replica::layout;
use crate::replica::notices::Notices;
use crate::replica::remote::Remote;
use crate::store::exchange::LocalObjects;
use crate::store::objects::Object;

/// Objects of a gateway in the shared store beyond which they are packed.
const MOST: usize = 32;

/// Packs objects in the shared store.
pub(super) struct Compactor {
    remote: Remote,
    notices: Notices,
}

impl Compactor {
    pub(super) fn new(remote: Remote) -> Self {
        Self { remote, notices: Notices::default() }
    }

    /// Packs the objects of a gateway in the shared store, if they are many, and returns the pack's
    /// name if this host need not fetch it.
    ///
    /// The pack holds all events of the packed objects, and only these objects are deleted. Objects
    /// that others write meanwhile stay. If another host does the same at the same time, its pack
    /// holds the same events, which count once. Damaged objects stay beside the pack. An object of
    /// a newer version stops the packing: that version may know better what still matters.
    pub(super) async fn compact(
        &self,
        gateway: &GatewayId,
        local: &mut LocalObjects,
        remote: &BTreeSet<ObjectName>,
        refused: &Refused,
    ) -> Result<Option<ObjectName>, Failure> {
        // Jitter, so that not all hosts find the limit exceeded at once.
        let jitter = (backoff::jitter() * (MOST / 4) as f64) as usize;
        if remote.len() <= MOST + jitter {
            return Ok(None);
        }
        let here = on_disk(local, LocalObjects::events).await?;
        let (mut events, mut packed) = (Events::new(), Vec::new());
        for name in remote {
            if let Some(refusal) = refused.get(name) {
                if refusal.newer {
                    self.left_as_it_is(gateway, &refusal.why);
                    return Ok(None);
                }
                self.left_beside(gateway, &refusal.why);
                continue;
            }
            let path = layout::object(gateway, *name);
            let found = match local.get(*name) {
                Some(object) => Ok((*object.events).clone()),
                None => match self.remote.get(&path).await? {
                    Some(bytes) => parse_object(&path, *name, &bytes),
                    // Another host is compacting.
                    None => return Ok(None),
                },
            };
            match found {
                Ok(found) => {
                    events.extend(found);
                    packed.push(path);
                }
                Err(error) if error.is::<Newer>() => {
                    self.left_as_it_is(gateway, &format!("{error:#}"));
                    return Ok(None);
                }
                Err(error) => self.left_beside(gateway, &format!("{error:#}")),
            }
        }
        if packed.len() < 2 {
            return Ok(None);
        }
        let Some((name, pack)) = pack(&events, OffsetDateTime::now_utc()) else { return Ok(None) };
        let bytes = serde_json::to_vec(&pack).context("cannot write a pack")?;
        self.remote.put(&layout::object(gateway, name), bytes.clone()).await?;
        self.remote.delete_all(packed).await?;
        tracing::debug!(gateway_id = %gateway, objects = remote.len(), "packed in the shared store");
        // The pack must not publish events that were held back here.
        if !events.keys().all(|id| here.contains_key(id)) {
            return Ok(None);
        }
        events.retain(|id, _| pack.events.contains_key(id));
        let object = Object { bytes, events: Arc::new(events) };
        on_disk(local, move |local| local.take_in(name, object)).await?;
        Ok(Some(name))
    }

    fn left_as_it_is(&self, gateway: &GatewayId, why: &str) {
        self.notices.error(format!("{gateway} keeps more objects than needed: {why}"));
    }

    fn left_beside(&self, gateway: &GatewayId, why: &str) {
        self.notices.error(format!("left beside the packs of {gateway}: {why}"));
    }
}
