//! Properties of every rollout, whatever its gateways and operators do.

use proptest::prelude::*;

use super::tests::Lab;
use super::*;
use crate::fleet::Kind;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

/// An event of the gateway with this number.
#[derive(Clone, Copy, Debug)]
enum Act {
    Acknowledged(usize),
    Failed(usize),
    Published(usize),
    WentBack(usize),
    PinnedOld(usize),
    Removed(usize),
    Revoked(usize),
    /// An operator stops the rollout, and resumes it without those who left.
    Resumed,
}

fn act() -> impl Strategy<Value = Act> {
    let who = 0usize..8;
    prop_oneof![
        12 => who.clone().prop_map(Act::Acknowledged),
        2 => who.clone().prop_map(Act::Failed),
        1 => who.clone().prop_map(Act::Published),
        1 => who.clone().prop_map(Act::WentBack),
        1 => who.clone().prop_map(Act::PinnedOld),
        1 => who.clone().prop_map(Act::Removed),
        1 => who.prop_map(Act::Revoked),
        2 => Just(Act::Resumed),
    ]
}

/// Only what needs no operator.
fn boots() -> impl Strategy<Value = Vec<Act>> {
    let one = prop_oneof![4 => (0usize..8).prop_map(Act::Acknowledged), 1 => Just(Act::Resumed)];
    proptest::collection::vec(one, 0..30)
}

struct Run {
    lab: Lab,
    rollout: Rollout,
    members: Vec<Member>,
    /// Gateways that got the generation, and those of them that acknowledged it.
    activated: BTreeSet<GatewayId>,
    acknowledged: BTreeSet<GatewayId>,
}

impl Run {
    fn new(sizes: &[usize], share: u8) -> Self {
        let mut lab = Lab::default();
        let mut names = (0..).map(|number| format!("g{number}"));
        let mut wave = |size: &usize| -> Vec<Member> {
            names.by_ref().take(*size).map(|name| lab.member(&name)).collect()
        };
        let waves: Vec<_> = sizes.iter().map(&mut wave).collect();
        let rules = Rules { wait_for: share.try_into().unwrap(), timeout: None };
        let rollout = Rollout::new(waves, rules);
        let members = rollout.members().cloned().collect();
        Self { lab, rollout, members, activated: BTreeSet::new(), acknowledged: BTreeSet::new() }
    }

    fn step(&mut self) -> Result<bool, TestCaseError> {
        let known = self.lab.known();
        let Step::Activate(members) = next(&self.rollout, &known, NOW) else { return Ok(false) };
        for member in members {
            prop_assert!(self.activated.insert(member.id.clone()), "{} twice", member.id);
            let wave = self.rollout.waves.iter().position(|wave| wave.contains(member)).unwrap();
            for before in &self.rollout.waves[..wave] {
                let counted = before.iter().filter(|m| !self.rollout.left_out.contains(&m.id));
                let all = counted.clone().count();
                let good = counted.filter(|m| self.acknowledged.contains(&m.id)).count();
                let share = usize::from(u8::from(self.rollout.rules.wait_for));
                prop_assert!(good * 100 >= all * share, "{good} of {all} before wave {wave}");
            }
            let activated = Kind::Activated { generation: member.generation };
            self.lab.record(member.id.as_str(), activated);
        }
        Ok(true)
    }

    fn act(&mut self, act: Act) {
        let member = |number: usize| self.members[number % self.members.len()].clone();
        let there = |member: &Member| self.lab.events.contains_key(&member.id);
        match act {
            Act::Acknowledged(number) | Act::Failed(number) => {
                let member = member(number);
                // A gateway boots what is current.
                let served = self.lab.known().get(&member.id).is_some_and(|seen| {
                    let live = seen.history.pinned().or(seen.history.current());
                    !seen.revoked && live.is_some_and(|live| live.id == member.generation)
                });
                if served {
                    let works = matches!(act, Act::Acknowledged(_));
                    self.lab.boot(&member, works);
                    if works {
                        self.acknowledged.insert(member.id);
                    }
                }
            }
            Act::Published(number) => {
                let member = member(number);
                if there(&member) {
                    let generation = self.lab.publish(member.id.as_str());
                    self.lab.record(member.id.as_str(), Kind::Activated { generation });
                }
            }
            Act::WentBack(number) | Act::PinnedOld(number) => {
                let member = member(number);
                if there(&member) {
                    let known = self.lab.known();
                    let generation = known[&member.id].history.generation(1).unwrap().id;
                    let kind = match act {
                        Act::WentBack(_) => Kind::Activated { generation },
                        _ => Kind::Pinned { generation },
                    };
                    self.lab.record(member.id.as_str(), kind);
                }
            }
            Act::Removed(number) => drop(self.lab.events.remove(&member(number).id)),
            Act::Revoked(number) => drop(self.lab.revoked.insert(member(number).id)),
            Act::Resumed => {
                let known = self.lab.known();
                let left = self.members.iter().filter(|member| {
                    matches!(
                        standing(member, known.get(&member.id)),
                        Standing::Away(_) | Standing::Bad { .. }
                    )
                });
                self.rollout.left_out.extend(left.map(|member| member.id.clone()));
                self.rollout.resumed = Some(NOW);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_wave_begins_too_early_and_nobody_gets_it_twice(
        sizes in proptest::collection::vec(1usize..4, 1..4),
        share in 1u8..=100,
        acts in proptest::collection::vec(act(), 0..40),
    ) {
        let mut run = Run::new(&sizes, share);
        for act in acts {
            while run.step()? {}
            run.act(act);
        }
    }

    /// Operators may also have done other things meanwhile: those stay.
    #[test]
    fn taken_back_it_leaves_everybody_at_what_was_good(
        sizes in proptest::collection::vec(1usize..4, 1..4),
        acts in proptest::collection::vec(act(), 0..40),
    ) {
        let mut run = Run::new(&sizes, 100);
        for act in acts {
            while run.step()? {}
            run.act(act);
        }
        let before = run.lab.known();
        run.lab.take_back(&run.rollout);
        for member in &run.members {
            let Some(seen) = before.get(&member.id) else { continue };
            let had = seen.history.current().unwrap();
            let expected = if had.id == member.generation { 1 } else { had.number };
            prop_assert_eq!(run.lab.current(member.id.as_str()), expected, "{}", member.id);
        }
        // A second time changes nothing.
        let once = run.lab.events.clone();
        run.lab.take_back(&run.rollout);
        prop_assert!(once == run.lab.events);
    }

    #[test]
    fn stopped_and_resumed_it_comes_to_the_same_end(
        sizes in proptest::collection::vec(1usize..4, 1..4),
        share in 1u8..=100,
        acts in boots(),
    ) {
        let mut run = Run::new(&sizes, share);
        for act in acts {
            while run.step()? {}
            run.act(act);
        }
        // Everybody boots in the end.
        for _ in 0..=run.members.len() {
            while run.step()? {}
            for number in 0..run.members.len() {
                run.act(Act::Acknowledged(number));
            }
        }
        prop_assert_eq!(next(&run.rollout, &run.lab.known(), NOW), Step::Done);
        prop_assert!(run.rollout.left_out.is_empty());
        for member in &run.members {
            prop_assert_eq!(run.lab.current(member.id.as_str()), 2);
        }
    }
}
