//! The choice of a boot's generation: trials, fallback, pins. Pure.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use serde::Serialize;

use crate::fleet::Generation;
use crate::fleet::History;

/// The assessment of a gateway's generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// A new generation gets this many boots, one of which must be acknowledged.
    Tries(NonZeroU32),
    /// The gateway's system never acknowledges: it always gets the current generation.
    None,
}

/// The generation that a gateway gets, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The generation to serve.
    pub generation: Arc<Generation>,
    pub reason: Reason,
}

/// Why a generation is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Reason {
    /// An operator pinned it.
    Pinned,
    /// Generations of this gateway are not assessed.
    NotAssessed,
    /// A boot of it was acknowledged.
    Good,
    /// It is new: this is the `attempt`-th of `tries` boots that it gets.
    Trying {
        /// Counted from 1.
        attempt: u32,
        /// At most.
        tries: u32,
    },
    /// The current generation `from` used up its tries, so the last one known to work is served.
    FellBack {
        /// Number of the bad generation.
        from: u64,
        /// Its number of tries.
        tries: u32,
    },
    /// It used up its tries, but no other generation is known to work.
    NothingBetter {
        /// Its number of tries.
        tries: u32,
    },
}

impl Reason {
    /// Every [`Self::as_str`].
    pub const NAMES: [&str; 6] =
        ["pinned", "not-assessed", "good", "trying", "fell-back", "nothing-better"];

    /// The name without the numbers, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::NotAssessed => "not-assessed",
            Self::Good => "good",
            Self::Trying { .. } => "trying",
            Self::FellBack { .. } => "fell-back",
            Self::NothingBetter { .. } => "nothing-better",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pinned => f.write_str("pinned"),
            Self::NotAssessed => f.write_str("not assessed"),
            Self::Good => f.write_str("good"),
            Self::Trying { attempt, tries } => write!(f, "try {attempt} of {tries}"),
            Self::FellBack { from, tries } => {
                write!(f, "generation {from} is bad: {tries} boots, none acknowledged")
            }
            Self::NothingBetter { tries } => {
                write!(f, "{tries} boots, none acknowledged, and no other generation works")
            }
        }
    }
}

/// Chooses the generation for the gateway's next boot; `None` if none was ever activated.
///
/// A generation that used up its tries is bad until a late acknowledgement, or until an operator
/// activates it again. The fallback is the generation that was acknowledged last. So a gateway
/// never falls back further than needed, and never to a generation that has not worked.
pub fn decide(history: &History, policy: Policy) -> Option<Decision> {
    let decision = |generation: &Arc<Generation>, reason| {
        Some(Decision { generation: generation.clone(), reason })
    };
    if let Some(pinned) = history.pinned() {
        return decision(pinned, Reason::Pinned);
    }
    let current = history.current()?;
    let Policy::Tries(tries) = policy else {
        return decision(current, Reason::NotAssessed);
    };
    let trial = history.trial(current.number);
    if trial.is_good() {
        return decision(current, Reason::Good);
    }
    if trial.tries < tries.get() {
        let reason = Reason::Trying { attempt: trial.tries + 1, tries: tries.get() };
        return decision(current, reason);
    }
    match history.last_good() {
        Some(good) => decision(good, Reason::FellBack { from: current.number, tries: trial.tries }),
        None => decision(current, Reason::NothingBetter { tries: trial.tries }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use time::OffsetDateTime;

    use super::*;
    use crate::fleet::Event;
    use crate::fleet::EventId;
    use crate::fleet::Kind;
    use crate::fleet::event::FORMAT;

    const TRIES: u32 = 3;
    const POLICY: Policy = Policy::Tries(NonZeroU32::new(TRIES).unwrap());

    /// A gateway and its recorded events.
    #[derive(Default)]
    struct Life {
        events: BTreeMap<EventId, Arc<Event>>,
        boots: Vec<EventId>,
    }

    impl Life {
        fn record(&mut self, kind: Kind) -> EventId {
            let id = EventId::after(self.events.keys().next_back().copied(), 0);
            let event = Event { format: FORMAT, at: OffsetDateTime::UNIX_EPOCH, by: None, kind };
            self.events.insert(id, Arc::new(event));
            id
        }

        fn history(&self) -> History {
            History::fold(&self.events)
        }

        fn decide(&self) -> Option<Decision> {
            decide(&self.history(), POLICY)
        }

        fn publish(&mut self) {
            let number = self.history().next_number();
            let generation = self.record(Kind::Published {
                number,
                files: BTreeMap::new(),
                variables: BTreeMap::new(),
            });
            self.record(Kind::Activated { generation });
        }

        fn activate(&mut self, number: u64) {
            let history = self.history();
            if let Some(generation) = history.generation(number) {
                self.record(Kind::Activated { generation: generation.id });
            }
        }

        /// One power-on. Its decision is recorded before the gateway gets it.
        fn boot(&mut self) -> Option<(u64, Reason)> {
            let decision = self.decide()?;
            let boot =
                self.record(Kind::Booted { generation: decision.generation.id, certificate: None });
            self.boots.push(boot);
            Some((decision.generation.number, decision.reason))
        }

        fn boot_times(&mut self, times: usize) {
            for _ in 0..times {
                self.boot();
            }
        }

        fn acknowledge(&mut self, boot: EventId) {
            self.record(Kind::Acknowledged { boot });
        }

        fn acknowledge_last(&mut self) {
            self.acknowledge(*self.boots.last().unwrap());
        }
    }

    #[test]
    fn a_generation_that_never_acknowledges_is_tried_and_then_left() {
        let mut life = Life::default();
        assert_eq!(life.boot(), None);
        life.publish();
        assert_eq!(life.boot(), Some((1, Reason::Trying { attempt: 1, tries: 3 })));
        life.acknowledge_last();
        assert_eq!(life.boot(), Some((1, Reason::Good)));
        life.publish();
        for attempt in 1..=3 {
            assert_eq!(life.boot(), Some((2, Reason::Trying { attempt, tries: 3 })));
        }
        for _ in 0..5 {
            assert_eq!(life.boot(), Some((1, Reason::FellBack { from: 2, tries: 3 })));
        }
        // The next one gets its tries, and the bad one gets new tries when activated again.
        life.publish();
        assert_eq!(life.boot().unwrap().0, 3);
        life.activate(2);
        assert_eq!(life.boot(), Some((2, Reason::Trying { attempt: 1, tries: 3 })));
    }

    #[test]
    fn without_anything_better_it_is_tried_on() {
        let mut life = Life::default();
        life.publish();
        life.publish();
        life.boot_times(3);
        assert_eq!(life.boot(), Some((2, Reason::NothingBetter { tries: 3 })));
        assert_eq!(life.boot(), Some((2, Reason::NothingBetter { tries: 4 })));
        // A late acknowledgement still makes it good.
        life.acknowledge(life.boots[0]);
        assert_eq!(life.boot(), Some((2, Reason::Good)));
    }

    #[test]
    fn the_way_back_is_the_one_that_was_good_last() {
        let mut life = Life::default();
        for _ in 0..2 {
            life.publish();
            life.boot();
            life.acknowledge_last();
        }
        life.publish();
        life.boot_times(3);
        assert_eq!(life.boot().unwrap().0, 2);
        // An operator went back to 1, so 1 is served from then on.
        life.activate(1);
        life.publish();
        life.boot_times(3);
        assert_eq!(life.boot(), Some((1, Reason::FellBack { from: 4, tries: 3 })));
    }

    #[test]
    fn a_pin_holds_until_it_is_released() {
        let mut life = Life::default();
        life.publish();
        life.publish();
        let first = life.history().generation(1).unwrap().id;
        life.record(Kind::Pinned { generation: first });
        life.publish();
        (0..5).for_each(|_| assert_eq!(life.boot(), Some((1, Reason::Pinned))));
        life.record(Kind::Released);
        assert_eq!(life.boot(), Some((3, Reason::Trying { attempt: 1, tries: 3 })));
    }

    #[test]
    fn a_gateway_that_never_acknowledges_gets_what_was_activated() {
        let mut life = Life::default();
        life.publish();
        life.boot_times(5);
        let decision = decide(&life.history(), Policy::None).unwrap();
        assert_eq!((decision.generation.number, decision.reason), (1, Reason::NotAssessed));
    }

    proptest! {
        #[test]
        fn no_life_strands_the_gateway(steps in proptest::collection::vec((0u8..10, 0usize..50), 0..60)) {
            let mut life = Life::default();
            let mut since_activation = 0;
            for (step, target) in steps {
                match step {
                    0 => { life.publish(); since_activation = 0; }
                    1 => {
                        let number = target as u64 % 6;
                        if life.history().generation(number).is_some() { since_activation = 0; }
                        life.activate(number);
                    }
                    2 | 3 if !life.boots.is_empty() => {
                        let boot = life.boots[target % life.boots.len()];
                        life.acknowledge(boot);
                    }
                    _ => {
                        let history = life.history();
                        let served = life.boot();
                        prop_assert_eq!(served.is_some(), history.current().is_some());
                        let Some((number, reason)) = served else { continue };
                        let current = history.current().unwrap().number;
                        let known_good = history.last_good().map(|good| good.number);
                        match reason {
                            Reason::Good => prop_assert!(history.trial(number).is_good()),
                            Reason::Trying { .. } => {
                                since_activation += 1;
                                prop_assert!(since_activation <= TRIES);
                                prop_assert_eq!(number, current);
                            }
                            Reason::FellBack { from, .. } => {
                                prop_assert_eq!(from, current);
                                prop_assert_eq!(Some(number), known_good);
                                prop_assert!(number != current);
                            }
                            Reason::NothingBetter { .. } => {
                                prop_assert_eq!((number, known_good), (current, None));
                            }
                            Reason::Pinned | Reason::NotAssessed => prop_assert!(false),
                        }
                    }
                }
            }
        }
    }
}
