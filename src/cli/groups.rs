//! The groups of a fleet, as its gateways' records have them.

use std::collections::BTreeSet;

use anyhow::Result;
use anyhow::bail;

use crate::fleet::GroupName;
use crate::identity::GatewayName;
use crate::near::near;
use crate::store::State;

/// The gateways of each group.
pub(super) struct Groups {
    members: Vec<(GroupName, GatewayName)>,
    /// Gateways whose record cannot be read.
    pub(super) unknown: Vec<(GatewayName, anyhow::Error)>,
}

impl Groups {
    pub(super) fn read(state: &State) -> Result<Self> {
        let mut groups = Self { members: Vec::new(), unknown: Vec::new() };
        for name in state.gateways().names()? {
            match state.gateways().load(&name) {
                Ok(record) => groups.members.extend(record.group.map(|group| (group, name))),
                Err(error) => groups.unknown.push((name, error)),
            }
        }
        Ok(groups)
    }

    /// The groups that have gateways.
    pub(super) fn names(&self) -> BTreeSet<GroupName> {
        self.members.iter().map(|(group, _)| group.clone()).collect()
    }

    /// The gateways of a group, at least one.
    pub(super) fn members<'a>(
        &'a self,
        wanted: &'a GroupName,
    ) -> Result<impl Iterator<Item = &'a GatewayName>> {
        let is_meant =
            move |(group, name): &'a (GroupName, GatewayName)| (group == wanted).then_some(name);
        let mut members = self.members.iter().filter_map(is_meant).peekable();
        match members.peek() {
            Some(_) => Ok(members),
            None => bail!(self.no_such(wanted)),
        }
    }

    fn no_such(&self, wanted: &GroupName) -> String {
        let all = "`farmgate gateway list` shows all of them";
        match near(wanted.as_str(), self.members.iter().map(|(group, _)| group.as_str())) {
            Some(near) => format!("no gateway is in group {wanted}, but some are in {near}; {all}"),
            None if self.members.is_empty() => format!(
                "no gateway is in group {wanted}, or in any; `farmgate gateway set NAME --group \
                 {wanted}` puts one there"
            ),
            None => format!("no gateway is in group {wanted}; {all}"),
        }
    }
}
