//! The files that kept generations name. Reads the events of all gateways once; under the
//! state's lock it reads again only those of gateways whose folder has changed since.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use anyhow::Result;
use time::OffsetDateTime;

use super::super::State;
use super::super::blobs::Access;
use super::super::generations::Generations;
use super::super::leases;
use super::super::rollouts::Rollouts;
use super::super::stamp::Seen;
use super::super::stamp::Stamp;
use crate::fleet::BlobId;
use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::fleet::Generation;
use crate::fleet::History;
use crate::fleet::keep::Needs;

/// The generations of all gateways, and what else names them.
pub struct Survey {
    state: State,
    generations: Generations,
    now: OffsetDateTime,
    histories: BTreeMap<GatewayId, Known>,
    /// Generations that rollouts and leases name.
    named: BTreeSet<EventId>,
    /// Only `--dry-run` has some.
    pretended: BTreeSet<EventId>,
}

struct Known {
    history: History,
    /// The folder, if its stamp shows every later change.
    seen: Option<Seen>,
}

impl Survey {
    /// Reads everything. An unreadable event, rollout or lease is an error: what it names is
    /// unknown.
    pub fn new(state: &State, now: OffsetDateTime) -> Result<Self> {
        let mut survey = Self {
            generations: Generations::new(state),
            state: state.clone(),
            now,
            histories: BTreeMap::new(),
            named: BTreeSet::new(),
            pretended: BTreeSet::new(),
        };
        survey.refresh(None)?;
        Ok(survey)
    }

    pub(super) fn now(&self) -> OffsetDateTime {
        self.now
    }

    pub(super) fn gateways(&self) -> Vec<GatewayId> {
        self.histories.keys().cloned().collect()
    }

    /// Reads again what may have changed: all, or only the events of one gateway.
    pub(super) fn refresh(&mut self, only: Option<&GatewayId>) -> Result<()> {
        let rollouts = Rollouts::new(&self.state).open()?;
        if let Some(error) = rollouts.damaged.into_iter().next() {
            return Err(error.context("a rollout may need generations"));
        }
        let members = rollouts.found.into_values().flat_map(|stored| stored.rollout.waves);
        self.named = members.flatten().map(|member| member.generation).collect();
        self.named.extend(leases::generations(&self.state.leases_dir(), self.now)?);
        let gateways = match only {
            Some(gateway) => BTreeSet::from([gateway.clone()]),
            None => self.generations.gateways()?,
        };
        if only.is_none() {
            self.histories.retain(|id, _| gateways.contains(id));
        }
        for id in gateways {
            // Taken before the reading, so that a concurrent change shows the next time.
            let at = SystemTime::now();
            let stamp = Stamp::read(&self.generations.folder(&id)).ok();
            let known = self.histories.get(&id).and_then(|known| known.seen.zip(stamp));
            if known.is_some_and(|(seen, stamp)| seen.is_still(&stamp)) {
                continue;
            }
            let history = self.generations.history(&id).with_context(|| {
                format!("an event of {} may name files, so none is removed", id.name())
            })?;
            let seen = stamp.and_then(|stamp| Seen::new(stamp, at));
            self.histories.insert(id, Known { history, seen });
        }
        Ok(())
    }

    pub(super) fn superfluous(&self, id: &GatewayId, keep: NonZeroU32) -> Vec<Arc<Generation>> {
        let Some(Known { history, .. }) = self.histories.get(id) else { return Vec::new() };
        self.needs().superfluous(history, keep)
    }

    pub(super) fn last_activation(&self, id: &GatewayId, number: u64) -> Option<EventId> {
        self.histories.get(id)?.history.last_activation(number)
    }

    pub(super) fn pretend_dropped(&mut self, _: &GatewayId, generation: &Generation) {
        self.pretended.insert(generation.id);
    }

    /// The blobs that must stay.
    pub fn kept(&self) -> HashSet<(Access, BlobId)> {
        let needs = self.needs();
        let kept = self.histories.values().flat_map(|known| needs.kept(&known.history));
        let kept = kept.filter(|generation| !self.pretended.contains(&generation.id));
        let files = kept.flat_map(|generation| generation.files());
        files.map(|(path, asset)| (Access::to(path), asset.sha256)).collect()
    }

    fn needs(&self) -> Needs<'_> {
        Needs { named: &self.named, now: self.now }
    }
}
