//! Rollouts, step by step.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::fleet::Event;
use crate::fleet::EventId;
use crate::fleet::History;
use crate::fleet::Kind;
use crate::fleet::Policy;
use crate::fleet::event::FORMAT;

const POLICY: Policy = Policy::Tries(NonZeroU32::new(2).unwrap());

/// Ids in these tests begin at the epoch.
const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

/// A fleet whose gateways all have an old generation that works.
#[derive(Default)]
pub(super) struct Lab {
    pub(super) events: BTreeMap<GatewayId, BTreeMap<EventId, Arc<Event>>>,
    pub(super) revoked: BTreeSet<GatewayId>,
}

impl Lab {
    pub(super) fn record(&mut self, id: &str, kind: Kind) -> EventId {
        let events = self.events.entry(id.parse().unwrap()).or_default();
        let event = EventId::after(events.keys().next_back().copied(), 0);
        let stored = Event { format: FORMAT, at: OffsetDateTime::UNIX_EPOCH, by: None, kind };
        events.insert(event, Arc::new(stored));
        event
    }

    pub(super) fn publish(&mut self, id: &str) -> EventId {
        let number = History::fold(&self.events[id]).next_number();
        self.record(
            id,
            Kind::Published { number, files: BTreeMap::new(), variables: BTreeMap::new() },
        )
    }

    pub(super) fn member(&mut self, id: &str) -> Member {
        self.record(id, Kind::Released);
        let old = self.publish(id);
        self.record(id, Kind::Activated { generation: old });
        let boot = self.record(id, Kind::Booted { generation: old, certificate: None });
        self.record(id, Kind::Acknowledged { boot });
        let generation = self.publish(id);
        Member { gateway: id.parse().unwrap(), id: id.parse().unwrap(), generation }
    }

    pub(super) fn known(&self) -> Fleet {
        let seen = |(id, events): (&GatewayId, _)| {
            let history = History::fold(events);
            (
                id.clone(),
                Seen {
                    history: Arc::new(history),
                    policy: POLICY,
                    revoked: self.revoked.contains(id),
                },
            )
        };
        self.events.iter().map(seen).collect()
    }

    /// The next step, in words.
    pub(super) fn next(&self, rollout: &Rollout) -> String {
        let names = |members: Vec<&Member>| {
            members.iter().map(|member| member.id.as_str()).collect::<Vec<_>>().join(" ")
        };
        match next(rollout, &self.known(), NOW) {
            Step::Activate(members) => format!("activate {}", names(members)),
            Step::Wait(members) => format!("wait for {}", names(members)),
            Step::Stop(halt) => halt.to_string(),
            Step::Done => "done".to_owned(),
        }
    }

    pub(super) fn activate(&mut self, rollout: &Rollout) {
        if let Step::Activate(members) = next(rollout, &self.known(), NOW) {
            for member in members {
                self.record(member.id.as_str(), Kind::Activated { generation: member.generation });
            }
        }
    }

    pub(super) fn current(&self, id: &str) -> u64 {
        self.known()[id].history.current().unwrap().number
    }

    /// Takes a rollout back.
    pub(super) fn take_back(&mut self, rollout: &Rollout) {
        let known = self.known();
        for member in rollout.members() {
            if let Some(old) = known.get(&member.id).and_then(|seen| back(member, seen)) {
                self.record(member.id.as_str(), Kind::Activated { generation: old.id });
            }
        }
    }

    pub(super) fn boot(&mut self, member: &Member, acknowledge: bool) {
        let boot = self.record(
            member.id.as_str(),
            Kind::Booted { generation: member.generation, certificate: None },
        );
        if acknowledge {
            self.record(member.id.as_str(), Kind::Acknowledged { boot });
        }
    }
}

pub(super) fn three_waves() -> (Lab, Rollout) {
    let mut fleet = Lab::default();
    let waves = vec![
        vec![fleet.member("a"), fleet.member("b")],
        vec![fleet.member("c")],
        vec![fleet.member("d"), fleet.member("e")],
    ];
    (fleet, Rollout::new(waves, Rules::default()))
}

#[test]
fn a_wave_begins_when_all_before_it_work_and_the_last_is_watched_too() {
    let (mut fleet, rollout) = three_waves();
    assert_eq!(fleet.next(&rollout), "activate a b");
    fleet.activate(&rollout);
    assert_eq!(fleet.next(&rollout), "wait for a b");
    fleet.boot(&rollout.waves[0][0], true);
    assert_eq!(fleet.next(&rollout), "wait for b");
    fleet.boot(&rollout.waves[0][1], false);
    fleet.boot(&rollout.waves[0][1], true);
    assert_eq!(fleet.next(&rollout), "activate c");
    fleet.activate(&rollout);
    fleet.boot(&rollout.waves[1][0], true);
    assert_eq!(fleet.next(&rollout), "activate d e");
    fleet.activate(&rollout);
    assert_eq!(fleet.next(&rollout), "wait for d e");
    fleet.boot(&rollout.waves[2][0], true);
    fleet.boot(&rollout.waves[2][1], true);
    assert_eq!(fleet.next(&rollout), "done");
}

#[test]
fn it_stops_at_the_first_that_does_not_work_or_goes_its_own_way() {
    let begun = || {
        let (mut fleet, rollout) = three_waves();
        fleet.activate(&rollout);
        (fleet, rollout)
    };
    let (mut fleet, rollout) = begun();
    fleet.boot(&rollout.waves[0][0], false);
    fleet.boot(&rollout.waves[0][0], false);
    assert_eq!(fleet.next(&rollout), "stopped at gateway a: it used up its tries");

    let (mut fleet, rollout) = begun();
    let newer = fleet.publish("b");
    fleet.record("b", Kind::Activated { generation: newer });
    let why = "stopped at gateway b: another generation was activated for it";
    assert_eq!(fleet.next(&rollout), why);

    // Also if it had acknowledged: whoever goes back has a reason.
    for works in [false, true] {
        let (mut fleet, rollout) = begun();
        fleet.boot(&rollout.waves[0][0], works);
        let old = fleet.known()["a"].history.generation(1).unwrap().id;
        fleet.record("a", Kind::Activated { generation: old });
        let why = "stopped at gateway a: somebody went back to an earlier generation";
        assert_eq!(fleet.next(&rollout), why, "{works}");
    }

    let (mut fleet, rollout) = begun();
    let old = fleet.known()["a"].history.generation(1).unwrap().id;
    fleet.record("a", Kind::Pinned { generation: old });
    assert_eq!(fleet.next(&rollout), "stopped at gateway a: another generation is pinned");
    fleet.record("a", Kind::Pinned { generation: rollout.waves[0][0].generation });
    assert_eq!(fleet.next(&rollout), "wait for a b");

    let (mut fleet, rollout) = begun();
    fleet.revoked.insert("a".parse().unwrap());
    assert_eq!(fleet.next(&rollout), "stopped at gateway a: all its certificates are revoked");

    let (mut fleet, rollout) = begun();
    fleet.events.remove("a");
    assert_eq!(fleet.next(&rollout), "stopped at gateway a: it was removed");
}

#[test]
fn those_who_left_the_last_wave_delay_nobody() {
    let (mut fleet, mut rollout) = three_waves();
    rollout.waves.drain(..2);
    fleet.activate(&rollout);
    fleet.boot(&rollout.waves[0][0], true);
    assert_eq!(fleet.next(&rollout), "wait for e");
    let mut removed = fleet.events.clone();
    removed.remove("e");
    let removed = Lab { events: removed, ..Lab::default() };
    assert_eq!(removed.next(&rollout), "done");
    let newer = fleet.publish("e");
    fleet.record("e", Kind::Activated { generation: newer });
    assert_eq!(fleet.next(&rollout), "done");
}

#[test]
fn a_machine_that_is_switched_off_blocks_nobody_for_ever() {
    let (mut fleet, mut rollout) = three_waves();
    rollout.rules.wait_for = "50%".parse().unwrap();
    fleet.activate(&rollout);
    assert_eq!(fleet.next(&rollout), "wait for a b");
    fleet.boot(&rollout.waves[0][0], true);
    assert_eq!(fleet.next(&rollout), "activate c");
    // It counts as soon as it is there.
    fleet.boot(&rollout.waves[0][1], false);
    fleet.boot(&rollout.waves[0][1], false);
    assert_eq!(fleet.next(&rollout), "stopped at gateway b: it used up its tries");
}

#[test]
fn a_wave_that_waits_too_long_stops_it() {
    let (mut fleet, mut rollout) = three_waves();
    rollout.rules.timeout = Some(Duration::from_secs(60));
    fleet.activate(&rollout);
    fleet.boot(&rollout.waves[0][0], true);
    let known = fleet.known();
    let at = |rollout: &Rollout, seconds| {
        let now = NOW + Duration::from_secs(seconds);
        match next(rollout, &known, now) {
            Step::Stop(halt) => halt.to_string(),
            other => format!("{other:?}"),
        }
    };
    assert!(at(&rollout, 59).starts_with("Wait"));
    assert_eq!(at(&rollout, 61), "stopped: wave 1 waited too long for b");
    // After that, it waits as long again.
    rollout.resumed = Some(NOW + Duration::from_secs(61));
    assert!(at(&rollout, 120).starts_with("Wait"));
    assert_eq!(at(&rollout, 122), "stopped: wave 1 waited too long for b");
}

#[test]
fn whoever_was_left_out_is_waited_for_no_more() {
    let (mut fleet, mut rollout) = three_waves();
    fleet.activate(&rollout);
    fleet.boot(&rollout.waves[0][0], true);
    fleet.events.remove("b");
    assert_eq!(fleet.next(&rollout), "stopped at gateway b: it was removed");
    rollout.left_out.insert("b".parse().unwrap());
    assert_eq!(fleet.next(&rollout), "activate c");
}

#[test]
fn the_way_back_leads_to_what_works() {
    let (mut fleet, rollout) = three_waves();
    // Before it, somebody tried a generation that does not work.
    let bad = fleet.publish("a");
    fleet.record("a", Kind::Activated { generation: bad });
    let member = Member { generation: fleet.publish("a"), ..rollout.waves[0][0].clone() };
    let back_of = |fleet: &Lab, member: &Member| {
        back(member, &fleet.known()[&member.id]).map(|generation| generation.number)
    };
    assert_eq!(back_of(&fleet, &member), None, "it did not get it");
    fleet.record("a", Kind::Activated { generation: member.generation });
    assert_eq!(back_of(&fleet, &member), Some(1));
    // Its own acknowledgement makes no difference.
    fleet.boot(&member, true);
    assert_eq!(back_of(&fleet, &member), Some(1));
    let own_way = fleet.publish("a");
    fleet.record("a", Kind::Activated { generation: own_way });
    assert_eq!(back_of(&fleet, &member), None, "it has another one");

    // Nothing was ever good, or nothing else was there.
    let mut fleet = Lab::default();
    fleet.record("x", Kind::Released);
    let first = fleet.publish("x");
    fleet.record("x", Kind::Activated { generation: first });
    let member = Member {
        gateway: "x".parse().unwrap(),
        id: "x".parse().unwrap(),
        generation: fleet.publish("x"),
    };
    fleet.record("x", Kind::Activated { generation: member.generation });
    assert_eq!(back_of(&fleet, &member), Some(1));
    assert_eq!(back_of(&fleet, &Member { generation: first, ..member }), None);
}
