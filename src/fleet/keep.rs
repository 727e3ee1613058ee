//! The generations whose files are kept. Pure.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use time::Duration;
use time::OffsetDateTime;

use super::EventId;
use super::Generation;
use super::History;

/// A boot that began this long ago may still load files: 50 MB take 14 hours at 1 kB/s.
pub const LONGEST_BOOT: Duration = Duration::hours(24);

/// A generation that was never activated may belong to a rollout of another boot host, or to a
/// stopped one that is resumed.
pub const WAITING: Duration = Duration::days(30);

/// Facts beside a gateway's own events.
#[derive(Clone, Copy, Debug)]
pub struct Needs<'a> {
    /// Generations that open rollouts and leases of secrets name.
    pub named: &'a BTreeSet<EventId>,
    pub now: OffsetDateTime,
}

impl Needs<'_> {
    /// Says whether a boot may still get files of a generation, or an operator's next step does.
    pub fn are_met_by(&self, history: &History, generation: &Generation) -> bool {
        let number = generation.number;
        let served = [
            history.current(),
            history.pinned(),
            history.last_good(),
            history.previous(),
            history.in_use(None),
        ];
        let mut boots = history.boots().values().filter(|boot| boot.generation == number);
        served.into_iter().flatten().any(|served| served.id == generation.id)
            || self.named.contains(&generation.id)
            || boots.any(|boot| self.is_within(LONGEST_BOOT, boot.at))
            || !history.was_activated(number) && self.is_within(WAITING, generation.published)
    }

    /// The generations of a gateway that can be dropped: not needed, and not among the newest
    /// `keep`.
    pub fn superfluous(&self, history: &History, keep: NonZeroU32) -> Vec<Arc<Generation>> {
        let all: Vec<_> = history.generations().collect();
        let older = all.len().saturating_sub(keep.get() as usize);
        let others = all.into_iter().take(older);
        others
            .filter(|generation| !history.is_dropped(generation.number))
            .filter(|generation| !self.are_met_by(history, generation))
            .cloned()
            .collect()
    }

    /// The generations of a gateway whose files must stay.
    pub fn kept<'h>(&self, history: &'h History) -> impl Iterator<Item = &'h Arc<Generation>> {
        history.generations().filter(|generation| {
            !history.is_dropped(generation.number) || self.are_met_by(history, generation)
        })
    }

    /// A time in the future counts as just now: one of the clocks is wrong.
    fn is_within(&self, span: Duration, then: OffsetDateTime) -> bool {
        self.now - then < span
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::fleet::Event;
    use crate::fleet::Events;
    use crate::fleet::Kind;
    use crate::fleet::Policy;
    use crate::fleet::decide;

    const DAY: u64 = 86_400;

    #[derive(Default)]
    struct Life {
        events: Events,
        second: u64,
    }

    impl Life {
        fn record(&mut self, kind: Kind) -> EventId {
            let id = EventId::after(self.events.keys().next_back().copied(), self.second * 1000);
            let at = self.now();
            self.events.insert(id, Arc::new(Event { format: kind.format(), at, by: None, kind }));
            id
        }

        fn now(&self) -> OffsetDateTime {
            OffsetDateTime::UNIX_EPOCH + Duration::seconds(self.second as i64)
        }

        fn publish(&mut self) -> EventId {
            let number = self.history().next_number();
            let generation = self.record(Kind::Published {
                number,
                files: BTreeMap::new(),
                variables: BTreeMap::new(),
            });
            self.record(Kind::Activated { generation });
            generation
        }

        fn history(&self) -> History {
            History::fold(&self.events)
        }

        fn superfluous(&self, keep: u32, named: &BTreeSet<EventId>) -> Vec<u64> {
            let needs = Needs { named, now: self.now() };
            let keep = NonZeroU32::new(keep).unwrap();
            needs.superfluous(&self.history(), keep).iter().map(|g| g.number).collect()
        }

        fn drop_superfluous(&mut self, keep: u32) {
            let history = self.history();
            for number in self.superfluous(keep, &BTreeSet::new()) {
                let generation = history.generation(number).unwrap().id;
                let after = history.last_activation(number);
                self.record(Kind::Dropped { generation, after });
            }
        }
    }

    #[test]
    fn old_generations_go_and_those_that_anybody_needs_stay() {
        let mut life = Life::default();
        let ids: Vec<_> = (0..6).map(|_| life.publish()).collect();
        let none = BTreeSet::new();
        assert_eq!(life.superfluous(1, &none), [1, 2, 3, 4]);
        assert_eq!(life.superfluous(3, &none), [1, 2, 3]);
        assert!(life.superfluous(6, &none).is_empty());
        // One that worked, one that is pinned, one that a rollout names, one just booted.
        let boot = life.record(Kind::Booted { generation: ids[0], certificate: None });
        life.record(Kind::Acknowledged { boot });
        life.second = 2 * DAY;
        assert_eq!(life.superfluous(1, &none), [2, 3, 4]);
        life.record(Kind::Pinned { generation: ids[1] });
        assert_eq!(life.superfluous(1, &BTreeSet::from([ids[2]])), [4]);
        life.record(Kind::Booted { generation: ids[3], certificate: None });
        assert!(life.superfluous(1, &BTreeSet::from([ids[2]])).is_empty());
        life.second += DAY;
        assert_eq!(life.superfluous(1, &none), [3, 4]);
    }

    #[test]
    fn one_that_was_never_activated_waits_for_its_wave() {
        let mut life = Life::default();
        let number = life.history().next_number();
        life.record(Kind::Published { number, files: BTreeMap::new(), variables: BTreeMap::new() });
        for _ in 0..3 {
            life.publish();
        }
        let none = BTreeSet::new();
        assert_eq!(life.superfluous(1, &none), [2]);
        life.second = 31 * DAY;
        assert_eq!(life.superfluous(1, &none), [1, 2]);
    }

    #[test]
    fn a_dropped_one_is_no_fallback_and_who_activated_it_meanwhile_prevails() {
        let mut life = Life::default();
        let ids: Vec<_> = (0..4).map(|_| life.publish()).collect();
        let late = life.record(Kind::Booted { generation: ids[0], certificate: None });
        life.second = 2 * DAY;
        life.publish();
        let before = life.history().last_activation(1);
        life.drop_superfluous(1);
        let dropped = |life: &Life| -> Vec<u64> {
            let history = life.history();
            history.generations().map(|g| g.number).filter(|n| history.is_dropped(*n)).collect()
        };
        assert_eq!(dropped(&life), [1, 2, 3]);
        // An acknowledgement after all that time does not bring it back.
        life.record(Kind::Acknowledged { boot: late });
        assert_eq!(life.history().last_good(), None);
        // Another host activated it and had not heard of this.
        life.record(Kind::Activated { generation: ids[0] });
        life.publish();
        assert_eq!(dropped(&life), [2, 3]);
        assert!(life.history().last_activation(1) > before);
        assert_eq!(life.history().last_good().map(|g| g.number), Some(1));
    }

    proptest! {
        /// Whatever happens, and whenever somebody drops what can be dropped: no boot is sent to
        /// a generation without files.
        #[test]
        fn no_boot_is_sent_to_a_dropped_generation(
            steps in proptest::collection::vec((0u8..7, 0usize..8, 0u64..2 * DAY), 1..60),
            keep in 1u32..4,
        ) {
            let (mut life, mut boots) = (Life::default(), Vec::new());
            for (kind, target, wait) in steps {
                life.second += wait;
                let history = life.history();
                let alive: Vec<_> = history
                    .generations()
                    .filter(|g| !history.is_dropped(g.number))
                    .map(|g| g.id)
                    .collect();
                let named = alive.get(target % alive.len().max(1)).copied();
                match (kind, named) {
                    (0, _) | (_, None) => drop(life.publish()),
                    (1, Some(generation)) => drop(life.record(Kind::Activated { generation })),
                    (2, Some(generation)) => drop(life.record(Kind::Pinned { generation })),
                    (3, _) => drop(life.record(Kind::Released)),
                    (4, _) => if let Some(boot) = boots.get(target) {
                        life.record(Kind::Acknowledged { boot: *boot });
                    },
                    (5, _) => life.drop_superfluous(keep),
                    _ => if let Some(next) = decide(&history, Policy::Tries(NonZeroU32::MIN)) {
                        let generation = next.generation.id;
                        boots.push(life.record(Kind::Booted { generation, certificate: None }));
                    },
                }
                let history = life.history();
                for policy in [Policy::None, Policy::Tries(NonZeroU32::MIN)] {
                    if let Some(next) = decide(&history, policy) {
                        prop_assert!(!history.is_dropped(next.generation.number));
                    }
                }
                for boot in history.boots().values() {
                    let recent = life.now() - boot.at < LONGEST_BOOT;
                    prop_assert!(!recent || !history.is_dropped(boot.generation));
                }
            }
        }
    }
}
