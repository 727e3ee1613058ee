//! The gateways to work on: present ones, and removed ones that still have keys. Disk.

use std::collections::BTreeSet;

use anyhow::Result;

use super::scope::Scope;
use crate::bucket::disk::Disk;
use crate::bucket::provider::Owner;
use crate::fleet::GatewayId;
use crate::fleet::Record;
use crate::identity::GatewayName;
use crate::store::State;

/// A gateway that is present or was removed.
pub(super) struct Work {
    pub(super) id: GatewayId,
    pub(super) name: GatewayName,
    /// `None` if it was removed.
    pub(super) record: Option<Record>,
}

impl Work {
    pub(super) fn owner(&self) -> Owner<'_> {
        Owner { id: self.id.as_str(), name: self.name.as_str() }
    }
}

/// The gateways in `scope`.
pub(super) fn works(state: &State, disk: &Disk, scope: &Scope) -> Result<Vec<Work>> {
    // Listed first, or a gateway added meanwhile would be taken for a removed one.
    let ids: BTreeSet<GatewayId> = disk.ids()?.into_iter().collect();
    let gateways = state.gateways();
    let (mut works, mut known, mut all) = (Vec::new(), BTreeSet::new(), true);
    for name in gateways.names()? {
        match gateways.load(&name) {
            Ok(record) => {
                known.insert(record.id.clone());
                works.push(Work { id: record.id.clone(), name, record: Some(record) });
            }
            Err(error) => {
                all = false;
                tracing::error!(gateway = %name, "{error:#}");
            }
        }
    }
    // If a record cannot be read, its bucket is not that of a removed gateway.
    for id in ids.into_iter().filter(|id| all && !known.contains(id)) {
        if let Ok(name) = id.name().parse() {
            works.push(Work { id, name, record: None });
        }
    }
    works.retain(|work| scope.only.as_ref().is_none_or(|only| only.contains(&work.name)));
    Ok(works)
}
