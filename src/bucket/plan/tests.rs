//! Lives of a bucket: plans as pure functions, with properties.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::bucket::hand_out::hand_out;
use crate::bucket::hand_out::hand_out_unrecorded;
use crate::bucket::stored::Bucket;
use crate::bucket::stored::Rotate;
use crate::bucket::stored::Secret;

/// The fate of one call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// The provider never received it.
    Before,
    /// It was done, but the result was lost: the answer, or the process.
    After,
}

#[derive(Clone, Debug)]
enum Event {
    Step(Fault),
    /// The gateway boots and gets its script; says whether that can be recorded.
    Boot(bool),
    /// The gateway asks for its script once more.
    Again,
    /// One of the latest boots is acknowledged.
    Acknowledge(usize),
    Rotate,
    /// A backup of the file is restored: it is some steps old.
    Backup,
}

/// The provider, the disk, and the gateway.
struct World {
    bucket: bool,
    /// Keys at the provider: id and name.
    keys: BTreeMap<String, String>,
    disk: String,
    backup: String,
    serial: u64,
    boots: Vec<EventId>,
    acknowledged: BTreeSet<EventId>,
    /// The values that each boot got.
    given: BTreeMap<EventId, BTreeSet<String>>,
    restored: bool,
}

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

impl World {
    fn new() -> Self {
        let disk = serde_json::to_string(&Stored::new("lab-1".parse().unwrap())).unwrap();
        Self {
            bucket: false,
            keys: BTreeMap::new(),
            backup: disk.clone(),
            disk,
            serial: 0,
            boots: Vec::new(),
            acknowledged: BTreeSet::new(),
            given: BTreeMap::new(),
            restored: false,
        }
    }

    fn stored(&self) -> Stored {
        serde_json::from_str(&self.disk).unwrap()
    }

    fn update(&mut self, change: impl FnOnce(&mut Stored)) {
        let mut stored = self.stored();
        change(&mut stored);
        self.disk = serde_json::to_string(&stored).unwrap();
    }

    fn next(&self, wanted: bool, check: bool) -> Step {
        let acknowledged = |boot| self.acknowledged.contains(&boot);
        let situation = Situation {
            wanted,
            endpoint: Some(("https://s3", None)),
            quota: Some(5),
            acknowledged: &acknowledged,
            now: NOW,
            check,
        };
        next(&self.stored(), &situation)
    }

    /// Takes the next step as the reconciler does; returns whether there was one.
    fn step(&mut self, fault: Fault, wanted: bool, check: bool) -> bool {
        let step = self.next(wanted, check);
        if step.is_remote() && step != Step::MakeKey && fault == Fault::Before {
            return true;
        }
        let lost = fault == Fault::After;
        match step {
            Step::Nothing | Step::Forget => return false,
            Step::ClearKey(name) => {
                let known = self.stored();
                self.keys.retain(|id, n| *n != name || known.keys.iter().any(|key| key.id == *id));
                if !lost {
                    self.update(|stored| stored.gave_up(&name));
                }
            }
            Step::FindBucket => {
                self.bucket = true;
                let (name, id) = ("b".to_owned(), "1".to_owned());
                let endpoint = "https://s3".to_owned();
                let bucket = Bucket { name, id, endpoint, region: None, quota: None };
                if !lost {
                    self.update(|stored| stored.found("s3", bucket));
                }
            }
            Step::TellEndpoint => panic!("the endpoint did not change"),
            Step::SetQuota if lost => {}
            Step::SetQuota => self.update(|stored| {
                stored.bucket.as_mut().unwrap().quota = Some(5);
            }),
            Step::MakeKey => {
                assert!(self.bucket);
                self.serial += 1;
                let (id, name) = (format!("K{}", self.serial), format!("name-{}", self.serial));
                self.update(|stored| stored.making = Some(name.clone()));
                if fault == Fault::Before {
                    return true;
                }
                self.keys.insert(id.clone(), name.clone());
                if !lost {
                    self.update(|stored| stored.made(id, Secret::new("s".to_owned()), name, NOW));
                }
            }
            Step::Settle(key) => {
                let last = self.boots.last().copied();
                self.update(|stored| stored.settled(&key, last));
            }
            Step::DeleteKey(id) => {
                self.keys.remove(&id);
                if !lost {
                    self.update(|stored| stored.deleted(&id));
                }
            }
            Step::Check => {
                let present: Vec<_> =
                    self.keys.iter().map(|(id, name)| (id.clone(), name.clone())).collect();
                self.update(|stored| stored.checked(&present, NOW));
                return !check;
            }
        }
        true
    }

    fn fetch(&mut self, boot: EventId, records: bool) {
        let stored = self.stored();
        let given = if !stored.must_record(Some(boot)) {
            hand_out(&stored)
        } else if records {
            self.update(|stored| stored.record(Some(boot)));
            hand_out(&self.stored())
        } else {
            hand_out_unrecorded(&stored, "disk full".to_owned())
        };
        if let Some(values) = given.values {
            let id = values.named().find(|(name, _)| *name == "s3_access_key_id").unwrap().1;
            self.given.entry(boot).or_default().insert(id.to_owned());
        }
    }

    /// The keys that a system running on the gateway may have.
    fn in_use(&self) -> BTreeSet<String> {
        let since = self.acknowledged.last().copied();
        let recent = self.given.iter().filter(|(boot, _)| Some(**boot) >= since);
        recent.flat_map(|(_, keys)| keys.clone()).collect()
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Step(fault) => {
                self.step(*fault, true, false);
            }
            Event::Boot(records) => {
                let boot = EventId::after(self.boots.last().copied(), 1);
                self.boots.push(boot);
                self.fetch(boot, *records);
            }
            Event::Again => {
                if let Some(boot) = self.boots.last().copied() {
                    self.fetch(boot, true);
                }
            }
            Event::Acknowledge(back) => {
                if let Some(boot) = self.boots.iter().rev().nth(*back) {
                    self.acknowledged.insert(*boot);
                }
            }
            Event::Rotate => self.update(|stored| stored.rotate = Some(Rotate::Overlap)),
            Event::Backup => {
                self.restored = true;
                std::mem::swap(&mut self.disk, &mut self.backup);
                self.update(|stored| stored.checked = None);
            }
        }
    }

    fn settle(&mut self, wanted: bool) {
        for _ in 0..1000 {
            if !self.step(Fault::None, wanted, false) {
                return;
            }
        }
        panic!("no end: {:?}", self.next(wanted, false));
    }
}

fn event(backups: bool) -> impl Strategy<Value = Event> {
    let fault =
        prop_oneof![3 => Just(Fault::None), 1 => Just(Fault::Before), 1 => Just(Fault::After)];
    prop_oneof![
        8 => fault.prop_map(Event::Step),
        3 => prop::bool::weighted(0.8).prop_map(Event::Boot),
        1 => Just(Event::Again),
        2 => (0usize..3).prop_map(Event::Acknowledge),
        1 => Just(Event::Rotate),
        u32::from(backups) => Just(Event::Backup),
    ]
}

fn ends_well(world: &mut World) -> Result<(), TestCaseError> {
    // After any history: once nothing fails any more, everything is in order.
    world.settle(true);
    for _ in 0..2 {
        world.happen(&Event::Boot(true));
        world.happen(&Event::Acknowledge(0));
        world.settle(true);
    }
    let stored = world.stored();
    prop_assert_eq!(stored.keys.len(), 1, "{:?}", stored);
    prop_assert_eq!(world.keys.keys().collect::<Vec<_>>(), vec![&stored.keys[0].id]);
    prop_assert!(!stored.must_record(None), "each boot would write to the disk");
    // The gateway is removed: no key is left, and the bucket stays.
    world.settle(false);
    prop_assert!(world.keys.is_empty() && world.bucket);
    prop_assert!(world.stored().bucket.is_some());
    Ok(())
}

proptest! {
    #[test]
    fn no_key_goes_that_a_gateway_may_be_using(
        events in proptest::collection::vec(event(false), 0..60),
    ) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
            let present: BTreeSet<_> = world.keys.keys().cloned().collect();
            let in_use = world.in_use();
            prop_assert!(in_use.is_subset(&present), "{:?} of {:?}", in_use, present);
        }
        ends_well(&mut world)?;
    }

    #[test]
    fn a_state_from_a_backup_finds_its_way_back(
        events in proptest::collection::vec(event(true), 0..60),
    ) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
        }
        world.update(|stored| stored.checked = None);
        ends_well(&mut world)?;
    }
}

#[test]
fn a_leaked_key_goes_as_soon_as_there_is_another() {
    let mut world = World::new();
    world.settle(true);
    world.happen(&Event::Boot(true));
    world.update(|stored| stored.rotate = Some(Rotate::Now));
    world.settle(true);
    assert_eq!(world.keys.keys().collect::<Vec<_>>(), ["K2"]);
}

/// A slow provider used to leave a key behind until the gateway's next boot: it made the key of a
/// cut-off attempt after the reconciler had looked for it.
#[test]
fn a_key_that_appears_after_it_was_given_up_goes() {
    let mut world = World::new();
    world.settle(true);
    world.happen(&Event::Boot(true));
    world.update(|stored| {
        stored.rotate = Some(Rotate::Now);
        stored.making = Some("lab-1-late".to_owned());
    });
    world.settle(true);
    assert_eq!(world.keys.keys().collect::<Vec<_>>(), ["K2"]);
    world.keys.insert("K9".to_owned(), "lab-1-late".to_owned());
    while world.step(Fault::None, true, true) {}
    world.settle(true);
    assert_eq!(world.keys.keys().collect::<Vec<_>>(), ["K2"]);
}

#[test]
fn what_the_provider_lost_is_made_anew() {
    let mut world = World::new();
    world.settle(true);
    world.keys.clear();
    assert!(!world.step(Fault::None, true, true), "it was asked for a check");
    world.settle(true);
    assert_eq!(world.keys.keys().collect::<Vec<_>>(), ["K2"]);
}

#[test]
fn a_boot_that_began_with_the_old_key_says_nothing_of_the_new_one() {
    let mut world = World::new();
    world.settle(true);
    world.happen(&Event::Boot(true));
    world.happen(&Event::Rotate);
    world.settle(true);
    // The same boot asks again and gets the new key, while its running system has the old one.
    world.happen(&Event::Again);
    world.happen(&Event::Acknowledge(0));
    world.settle(true);
    assert_eq!(world.keys.len(), 2);
    world.happen(&Event::Boot(true));
    world.settle(true);
    assert_eq!(world.keys.len(), 2);
    world.happen(&Event::Acknowledge(0));
    world.settle(true);
    assert_eq!(world.keys.keys().collect::<Vec<_>>(), ["K2"]);
}

/// Such a boot used to be given the old key, and then, when it asked again, the new one.
#[test]
fn a_boot_that_could_not_be_recorded_is_not_given_the_old_key() {
    let mut world = World::new();
    world.settle(true);
    world.happen(&Event::Boot(true));
    world.happen(&Event::Rotate);
    world.settle(true);
    world.happen(&Event::Boot(false));
    assert!(!world.given.contains_key(world.boots.last().unwrap()));
    world.happen(&Event::Again);
    world.happen(&Event::Acknowledge(0));
    world.settle(true);
    assert!(world.in_use().iter().all(|key| world.keys.contains_key(key)));
}

#[test]
fn waiting_ends_with_its_time_also_when_the_clock_is_set_back() {
    let mut stored = Stored::new("lab-1".parse().unwrap());
    assert!(is_due(&stored, NOW));
    let error = String::new();
    let not_before = NOW + Duration::MINUTE;
    stored.trouble =
        Some(crate::bucket::stored::Trouble { error, attempts: 1, at: NOW, not_before });
    assert!(!is_due(&stored, NOW));
    assert!(is_due(&stored, not_before));
    assert!(is_due(&stored, NOW - Duration::days(365)));
}
