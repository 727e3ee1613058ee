//! The state that a gateway's events fold to. Pure: the order in which events arrive makes no
//! difference.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use time::Duration;
use time::OffsetDateTime;

use crate::fleet::Asset;
use crate::fleet::Event;
use crate::fleet::EventId;
use crate::fleet::Kind;
use crate::fleet::SECRETS;
use crate::fleet::Variables;
use crate::identity::Fingerprint;

/// Number of boots and activations that are remembered, and so the most tries that a generation can
/// have. An acknowledgement counts while its boot is remembered. The bound counts boots instead of
/// hours, so that it depends on no clock.
pub const REMEMBERED: usize = 64;

/// Longest wait of an acknowledgement for the event of its boot, which another host began and could
/// not deliver yet.
const AWAITED: Duration = Duration::days(7);

/// Events by id.
pub type Events = BTreeMap<EventId, Arc<Event>>;

/// An immutable, numbered set of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its number: 1 is the first.
    pub number: u64,
    /// The event that published it.
    pub id: EventId,
    /// The time of publication.
    pub published: OffsetDateTime,
    files: BTreeMap<String, Asset>,
    variables: Variables,
}

impl Generation {
    /// The file at `path`, unless it is private.
    pub fn asset(&self, path: &str) -> Option<&Asset> {
        if path == SECRETS { None } else { self.files.get(path) }
    }

    /// All files by path.
    pub fn files(&self) -> &BTreeMap<String, Asset> {
        &self.files
    }

    /// Settings for its boot script.
    pub fn variables(&self) -> &Variables {
        &self.variables
    }
}

/// The results of a generation's boots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// Boots since the last activation.
    pub tries: u32,
    /// The last activation.
    live_since: Option<EventId>,
    /// The earliest and the latest acknowledged boot.
    acknowledged: Option<(EventId, EventId)>,
}

impl Trial {
    /// True if any boot was acknowledged.
    pub fn is_good(&self) -> bool {
        self.acknowledged.is_some()
    }

    /// The last activation.
    pub fn live_since(&self) -> Option<EventId> {
        self.live_since
    }

    /// The latest event in its favour: an acknowledged boot, or an operator's return to it when it
    /// was known to be good.
    fn evidence(&self) -> Option<EventId> {
        let (first, last) = self.acknowledged?;
        Some(self.live_since.filter(|since| *since > first).map_or(last, |since| since.max(last)))
    }

    fn acknowledge(&mut self, boot: EventId) {
        let (first, last) = self.acknowledged.unwrap_or((boot, boot));
        self.acknowledged = Some((first.min(boot), last.max(boot)));
    }
}

/// One boot of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Number of the generation that it was sent to.
    pub generation: u64,
    /// The time when it began.
    pub at: OffsetDateTime,
    /// The certificate that it was begun with; older versions did not record it.
    pub certificate: Option<Fingerprint>,
    /// True once the booted system has acknowledged.
    pub acknowledged: bool,
}

/// The fold of one gateway's events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    generations: BTreeMap<u64, Arc<Generation>>,
    trials: BTreeMap<u64, Trial>,
    /// Numbers in the order of activation; the last one is current.
    activations: Vec<u64>,
    pinned: Option<u64>,
    boots: BTreeMap<EventId, Boot>,
    /// Dropped generations, each with its last activation that was known then.
    dropped: BTreeMap<u64, Option<EventId>>,
}

impl History {
    /// Folds events in any order of arrival.
    pub fn fold(events: &Events) -> Self {
        let kept = relevant(events, REMEMBERED);
        let mut history = Self::default();
        // Referenced events come before the events that refer to them. So clock differences between
        // hosts do not matter.
        let published = |event: &Event| matches!(event.kind, Kind::Published { .. });
        for (id, event) in events.iter().filter(|(_, event)| published(event)) {
            history.apply(*id, event);
        }
        for (id, event) in kept.iter().filter_map(|id| Some((id, events.get(id)?))) {
            if !published(event) {
                history.apply(*id, event);
            }
        }
        for event in kept.iter().filter_map(|id| events.get(id)) {
            if let Kind::Acknowledged { boot } = &event.kind {
                history.acknowledge(*boot);
            }
        }
        history
    }

    fn apply(&mut self, id: EventId, event: &Event) {
        match &event.kind {
            Kind::Published { number, files, variables } => {
                // On a number clash, the earlier event keeps the number, and the later one gets the
                // next free one.
                let taken = |number: &u64| self.generations.contains_key(number);
                let number = (*number..=u64::MAX).find(|n| !taken(n)).unwrap_or(u64::MAX);
                let generation = Generation {
                    number,
                    id,
                    published: event.at,
                    files: files.clone(),
                    variables: variables.clone(),
                };
                self.generations.insert(number, Arc::new(generation));
            }
            Kind::Activated { generation } => {
                if let Some(number) = self.number_of(generation) {
                    self.activations.push(number);
                    let trial = self.trials.entry(number).or_default();
                    trial.tries = 0;
                    trial.live_since = Some(id);
                }
            }
            Kind::Pinned { generation } => {
                self.pinned = self.number_of(generation);
            }
            Kind::Released => self.pinned = None,
            Kind::Booted { generation, certificate } => {
                if let Some(number) = self.number_of(generation) {
                    let trial = self.trials.entry(number).or_default();
                    trial.tries = trial.tries.saturating_add(1);
                    let boot = Boot {
                        generation: number,
                        at: event.at,
                        certificate: *certificate,
                        acknowledged: false,
                    };
                    self.boots.insert(id, boot);
                }
            }
            Kind::Dropped { generation, after } => {
                if let Some(number) = self.number_of(generation) {
                    let known = self.dropped.entry(number).or_default();
                    *known = (*known).max(*after);
                }
            }
            Kind::Acknowledged { .. } => {}
        }
    }

    fn acknowledge(&mut self, boot: EventId) {
        if let Some(found) = self.boots.get_mut(&boot) {
            found.acknowledged = true;
            self.trials.entry(found.generation).or_default().acknowledge(boot);
        }
    }

    fn number_of(&self, id: &EventId) -> Option<u64> {
        self.by_id(*id).map(|generation| generation.number)
    }

    /// The current generation: the one activated last.
    pub fn current(&self) -> Option<&Arc<Generation>> {
        self.activations.last().and_then(|number| self.generations.get(number))
    }

    /// The generation that was current before.
    pub fn previous(&self) -> Option<&Arc<Generation>> {
        let current = self.activations.last()?;
        let other = |number: &&u64| *number != current && !self.is_dropped(**number);
        let number = self.activations.iter().rev().find(other)?;
        self.generations.get(number)
    }

    /// The pinned generation, which gateways get regardless of assessment.
    pub fn pinned(&self) -> Option<&Arc<Generation>> {
        self.generations.get(&self.pinned?)
    }

    /// The generation behind addresses without a number: that of the latest boot, or one pinned or
    /// activated since. The latest boot is `begun` if the caller knows it, otherwise the one with
    /// the latest id.
    pub fn in_use(&self, begun: Option<EventId>) -> Option<&Arc<Generation>> {
        let current = self.current()?;
        let since = self.trial(current.number).live_since;
        let begun = begun.and_then(|boot| self.boots.get_key_value(&boot));
        let booted = begun.or_else(|| self.boots.last_key_value());
        let booted = booted.filter(|(boot, _)| Some(**boot) > since);
        let booted = booted.and_then(|(_, boot)| self.generations.get(&boot.generation));
        Some(self.pinned().or(booted).unwrap_or(current))
    }

    /// The generation that was last known to work.
    pub fn last_good(&self) -> Option<&Arc<Generation>> {
        self.best(|_| true)
    }

    /// The same among all others than this one.
    pub fn last_good_but(&self, number: u64) -> Option<&Arc<Generation>> {
        self.best(|other| other != number)
    }

    fn best(&self, counts: impl Fn(u64) -> bool) -> Option<&Arc<Generation>> {
        let counts = |number: u64| counts(number) && !self.is_dropped(number);
        let trials = self.trials.iter().filter(|(number, _)| counts(**number));
        let good = trials.filter_map(|(number, trial)| Some((trial.evidence()?, number)));
        good.max().and_then(|(_, number)| self.generations.get(number))
    }

    /// The generation that was current before this one was last activated.
    pub fn live_before(&self, number: u64) -> Option<&Arc<Generation>> {
        let at = self.activations.iter().rposition(|live| *live == number)?;
        let other = |live: &&u64| **live != number && !self.is_dropped(**live);
        let before = self.activations[..at].iter().rfind(other)?;
        self.generations.get(before)
    }

    /// Says whether the files of a generation may be gone. A generation that is served never counts
    /// as dropped, and neither does one that was activated again before anybody knew.
    pub fn is_dropped(&self, number: u64) -> bool {
        let Some(known) = self.dropped.get(&number) else { return false };
        let served = [self.pinned, self.activations.last().copied()].contains(&Some(number));
        !served && self.last_activation(number) <= *known
    }

    /// The last activation of a generation.
    pub fn last_activation(&self, number: u64) -> Option<EventId> {
        self.trials.get(&number)?.live_since
    }

    /// Says whether the generation was ever current.
    pub fn was_activated(&self, number: u64) -> bool {
        self.trials.get(&number).is_some_and(|trial| trial.live_since.is_some())
    }

    /// The results of a generation's boots.
    pub fn trial(&self, number: u64) -> Trial {
        self.trials.get(&number).cloned().unwrap_or_default()
    }

    /// The latest boots, oldest first.
    pub fn boots(&self) -> &BTreeMap<EventId, Boot> {
        &self.boots
    }

    /// The boot that a request for this generation belongs to: `begun` if that was sent to it,
    /// otherwise the one with the latest id that was.
    pub fn boot_of(&self, generation: u64, begun: Option<EventId>) -> Option<EventId> {
        let sent_there = |boot: &Boot| boot.generation == generation;
        let begun = begun.filter(|id| self.boots.get(id).is_some_and(sent_there));
        let latest = || self.boots.iter().rfind(|(_, boot)| sent_there(boot)).map(|(id, _)| *id);
        begun.or_else(latest)
    }

    /// The generation with this number.
    pub fn generation(&self, number: u64) -> Option<&Arc<Generation>> {
        self.generations.get(&number)
    }

    /// The generation that this event published.
    pub fn by_id(&self, id: EventId) -> Option<&Arc<Generation>> {
        self.generations.values().find(|generation| generation.id == id)
    }

    /// All generations, oldest first.
    pub fn generations(&self) -> impl Iterator<Item = &Arc<Generation>> {
        self.generations.values()
    }

    /// The number for the next generation.
    pub fn next_number(&self) -> u64 {
        self.generations.keys().next_back().map_or(1, |last| last + 1)
    }
}

/// The events that decide the result of [`History::fold`], now and after any later event, and the
/// latest that have an author. All others can be deleted. An acknowledgement of a forgotten boot no longer counts.
pub fn relevant(events: &Events, remembered: usize) -> BTreeSet<EventId> {
    let mut kept = BTreeSet::new();
    let mut published = BTreeSet::new();
    let (mut activations, mut boots) = (Vec::new(), Vec::new());
    let (mut pin, mut acknowledged) = (None, BTreeMap::new());
    let mut dropped: BTreeMap<EventId, (Option<EventId>, EventId)> = BTreeMap::new();
    for (id, event) in events {
        match &event.kind {
            Kind::Published { .. } => drop(published.insert(*id)),
            Kind::Activated { generation } => activations.push((*id, *generation)),
            Kind::Pinned { .. } | Kind::Released => pin = Some(*id),
            Kind::Booted { generation, .. } => boots.push((*id, *generation)),
            Kind::Acknowledged { boot } => drop(acknowledged.entry(*boot).or_insert(*id)),
            Kind::Dropped { generation, after } => {
                let last = dropped.entry(*generation).or_insert((*after, *id));
                *last = (*last).max((*after, *id));
            }
        }
    }
    kept.extend(&published);
    kept.extend(pin);
    kept.extend(dropped.into_values().map(|(_, id)| id));
    kept.extend(activations.iter().rev().take(remembered).map(|(id, _)| id));
    let last: BTreeMap<_, _> =
        activations.iter().map(|(id, generation)| (generation, id)).collect();
    kept.extend(last.into_values());

    // They decide nothing: people want to know who did what.
    let authored = events.iter().filter(|(_, event)| event.by.is_some());
    kept.extend(authored.rev().take(remembered).map(|(id, _)| id));

    kept.extend(boots.iter().rev().take(remembered).map(|(id, _)| id));
    // The tries of the current generation, even with many other boots in between.
    let current = activations.iter().rfind(|(_, generation)| published.contains(generation));
    if let Some((since, current)) = current {
        let tries = boots.iter().filter(|(id, generation)| generation == current && id > since);
        kept.extend(tries.rev().take(remembered).map(|(id, _)| id));
    }
    // The first and the last acknowledgement of each generation.
    let mut words: BTreeMap<EventId, (EventId, EventId)> = BTreeMap::new();
    for (boot, generation) in boots.iter().filter(|(boot, _)| acknowledged.contains_key(boot)) {
        words.entry(*generation).or_insert((*boot, *boot)).1 = *boot;
    }
    kept.extend(words.into_values().flat_map(|(first, last)| [first, last]));
    let mut awaited = BTreeSet::new();
    for (boot, id) in acknowledged {
        if kept.contains(&boot) {
            kept.insert(id);
        } else if !events.contains_key(&boot) {
            awaited.insert(id);
        }
    }
    // A missing boot may still arrive while it would be remembered.
    let latest = events.keys().next_back().map(|id| id.time());
    let fresh = |id: &EventId| latest.is_some_and(|latest| latest - id.time() <= AWAITED);
    kept.extend(awaited.into_iter().rev().take(remembered).filter(fresh));
    kept
}

#[cfg(test)]
mod tests;
