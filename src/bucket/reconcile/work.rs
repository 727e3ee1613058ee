use std::collections::BTreeSet;

use anyhow::Result;

use super::Scope;
use crate::bucket::disk::Disk;
use crate::bucket::provider::Owner;
use crate::fleet::GatewayId;
use crate::fleet::Record;
use crate::identity::GatewayName;
use crate::store::State;

/// One gateway, there or removed.
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

/// Those in `scope`.
pub(super) fn works(state: &State, disk: &Disk, scope: &Scope) -> Result<Vec<Work>> {
    // First, so that a gateway which is added meanwhile is not taken for a removed one.
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
    // With a record that cannot be read, nobody knows whose bucket is nobody's.
    for id in ids.into_iter().filter(|id| all && !known.contains(id)) {
        if let Ok(name) = id.name().parse() {
            works.push(Work { id, name, record: None });
        }
    }
    works.retain(|work| scope.only.as_ref().is_none_or(|only| *only == work.name));
    Ok(works)
}
