//! Rollouts in waves: which gateways get a new generation next. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use super::GatewayId;
use crate::fleet::EventId;
use crate::fleet::History;
use crate::fleet::Policy;
use crate::identity::GatewayName;

/// A gateway of a wave, and the generation that was published for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Member {
    pub gateway: GatewayName,
    pub id: GatewayId,
    /// The event that published the generation.
    pub generation: EventId,
}

/// Gateways that get a new generation wave by wave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rollout {
    /// The waves; the canaries come first.
    pub waves: Vec<Vec<Member>>,
}

/// The next step of a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Activate the generation for these; the waves before them work.
    Activate(Vec<&'a Member>),
    /// Wait for the acknowledgements of these.
    Wait(Vec<&'a Member>),
    /// Stop: the generation failed on this gateway, or another one was activated for it. No further
    /// gateway gets it.
    Stop(&'a Member, &'static str),
    /// Finished: all waves are activated, and all but the last are known to work.
    Done,
}

/// Progress of one gateway.
enum Standing {
    /// Not activated yet.
    Waiting,
    /// Being tried.
    Trying,
    /// It works.
    Good,
    /// It used up its tries.
    Bad,
    /// Another generation was activated since, or the gateway was removed.
    Elsewhere,
}

fn standing(member: &Member, gateway: Option<&(History, Policy)>) -> Standing {
    let Some((history, policy)) = gateway else { return Standing::Elsewhere };
    let published = history.by_id(member.generation);
    let (Some(published), current) = (published, history.current()) else {
        return Standing::Elsewhere;
    };
    let trial = history.trial(published.number);
    match current {
        _ if trial.is_good() => Standing::Good,
        Some(current) if current.number > published.number => Standing::Elsewhere,
        Some(current) if current.number == published.number => match policy {
            Policy::Tries(tries) if trial.tries >= tries.get() => Standing::Bad,
            _ => Standing::Trying,
        },
        // It was activated, and an operator went back.
        _ if history.was_activated(published.number) => Standing::Elsewhere,
        _ => Standing::Waiting,
    }
}

/// Decides the next step from the histories of its gateways, by id.
pub fn next<'a>(
    rollout: &'a Rollout,
    gateways: &BTreeMap<GatewayId, (History, Policy)>,
) -> Step<'a> {
    let last = rollout.waves.len().saturating_sub(1);
    for (number, wave) in rollout.waves.iter().enumerate() {
        let standings =
            wave.iter().map(|member| (member, standing(member, gateways.get(&member.id))));
        let (mut waiting, mut trying) = (Vec::new(), Vec::new());
        for (member, standing) in standings {
            match standing {
                Standing::Waiting => waiting.push(member),
                Standing::Trying => trying.push(member),
                Standing::Good => {}
                Standing::Bad => return Step::Stop(member, "it used up its tries"),
                // Other generations in the last wave delay nobody.
                Standing::Elsewhere if number == last => {}
                Standing::Elsewhere => {
                    return Step::Stop(member, "another generation was activated for it");
                }
            }
        }
        if !waiting.is_empty() {
            return Step::Activate(waiting);
        }
        if !trying.is_empty() && number != last {
            return Step::Wait(trying);
        }
    }
    Step::Done
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;

    use time::OffsetDateTime;

    use super::*;
    use crate::fleet::Event;
    use crate::fleet::Kind;
    use crate::fleet::event::FORMAT;

    const POLICY: Policy = Policy::Tries(NonZeroU32::new(2).unwrap());

    /// A fleet whose gateways all have an old generation that works.
    #[derive(Default)]
    struct Fleet {
        events: BTreeMap<GatewayId, BTreeMap<EventId, Arc<Event>>>,
    }

    impl Fleet {
        fn record(&mut self, id: &str, kind: Kind) -> EventId {
            let events = self.events.entry(id.parse().unwrap()).or_default();
            let event = EventId::after(events.keys().next_back().copied(), 0);
            let stored = Event { format: FORMAT, at: OffsetDateTime::UNIX_EPOCH, by: None, kind };
            events.insert(event, Arc::new(stored));
            event
        }

        fn publish(&mut self, id: &str) -> EventId {
            let number = History::fold(&self.events[id]).next_number();
            self.record(id, Kind::Published { number, files: BTreeMap::new() })
        }

        fn member(&mut self, id: &str) -> Member {
            self.record(id, Kind::Released);
            let old = self.publish(id);
            self.record(id, Kind::Activated { generation: old });
            let generation = self.publish(id);
            Member { gateway: id.parse().unwrap(), id: id.parse().unwrap(), generation }
        }

        fn known(&self) -> BTreeMap<GatewayId, (History, Policy)> {
            let known =
                |(id, events): (&GatewayId, _)| (id.clone(), (History::fold(events), POLICY));
            self.events.iter().map(known).collect()
        }

        /// The next step, in words.
        fn next(&self, rollout: &Rollout) -> String {
            let names = |members: Vec<&Member>| {
                members.iter().map(|member| member.id.as_str()).collect::<Vec<_>>().join(" ")
            };
            match next(rollout, &self.known()) {
                Step::Activate(members) => format!("activate {}", names(members)),
                Step::Wait(members) => format!("wait for {}", names(members)),
                Step::Stop(member, _) => format!("stop at {}", member.id),
                Step::Done => "done".to_owned(),
            }
        }

        fn activate(&mut self, rollout: &Rollout) {
            if let Step::Activate(members) = next(rollout, &self.known()) {
                for member in members {
                    self.record(
                        member.id.as_str(),
                        Kind::Activated { generation: member.generation },
                    );
                }
            }
        }

        fn boot(&mut self, member: &Member, acknowledge: bool) {
            let boot = self.record(
                member.id.as_str(),
                Kind::Booted { generation: member.generation, certificate: None },
            );
            if acknowledge {
                self.record(member.id.as_str(), Kind::Acknowledged { boot });
            }
        }
    }

    fn three_waves() -> (Fleet, Rollout) {
        let mut fleet = Fleet::default();
        let waves = vec![
            vec![fleet.member("a"), fleet.member("b")],
            vec![fleet.member("c")],
            vec![fleet.member("d"), fleet.member("e")],
        ];
        (fleet, Rollout { waves })
    }

    #[test]
    fn a_wave_begins_when_all_before_it_work() {
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
        assert_eq!(fleet.next(&rollout), "done");
    }

    #[test]
    fn it_stops_at_the_first_that_does_not_work_or_goes_its_own_way() {
        let (mut fleet, rollout) = three_waves();
        fleet.activate(&rollout);
        fleet.boot(&rollout.waves[0][0], false);
        fleet.boot(&rollout.waves[0][0], false);
        assert_eq!(fleet.next(&rollout), "stop at a");

        let (mut fleet, rollout) = three_waves();
        fleet.activate(&rollout);
        let newer = fleet.publish("b");
        fleet.record("b", Kind::Activated { generation: newer });
        assert_eq!(fleet.next(&rollout), "stop at b");

        // The same if an operator went back.
        let (mut fleet, rollout) = three_waves();
        fleet.activate(&rollout);
        let old = fleet.known()["a"].0.generation(1).unwrap().id;
        fleet.record("a", Kind::Activated { generation: old });
        assert_eq!(fleet.next(&rollout), "stop at a");

        let (mut fleet, rollout) = three_waves();
        fleet.events.remove("a");
        assert_eq!(fleet.next(&rollout), "stop at a");
    }
}
