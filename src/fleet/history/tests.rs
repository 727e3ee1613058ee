//! The fold over events, by examples and by properties.

use proptest::prelude::*;

use super::*;
use crate::fleet::Pack;
use crate::fleet::event::FORMAT;

fn event(kind: Kind) -> Arc<Event> {
    Arc::new(Event { format: FORMAT, at: OffsetDateTime::UNIX_EPOCH, by: None, kind })
}

fn published(number: u64) -> Arc<Event> {
    event(Kind::Published { number, files: BTreeMap::new(), variables: BTreeMap::new() })
}

/// Events of a life; each refers to earlier ones by their position.
fn life() -> impl Strategy<Value = Events> {
    proptest::collection::vec((0u8..7, 0usize..100, 1u64..6), 0..80).prop_map(|steps| {
        let mut ids: Vec<EventId> = Vec::new();
        let mut events = BTreeMap::new();
        for (kind, target, number) in steps {
            let id = EventId::after(ids.last().copied(), 0);
            let named = *ids.get(target % (ids.len() + 1)).unwrap_or(&id);
            let kind = match kind {
                0 => Kind::Published { number, files: BTreeMap::new(), variables: BTreeMap::new() },
                1 => Kind::Activated { generation: named },
                2 => Kind::Pinned { generation: named },
                3 => Kind::Released,
                4 => Kind::Booted { generation: named, certificate: None },
                5 => Kind::Acknowledged { boot: named },
                _ => Kind::Dropped { generation: named, after: ids.last().copied() },
            };
            ids.push(id);
            events.insert(id, event(kind));
        }
        events
    })
}

proptest! {
    /// Compaction changes no later history, even with the smallest memory.
    #[test]
    fn what_is_not_relevant_can_be_forgotten_at_any_moment(
        events in life(), cut in 0usize..80, remembered in 1usize..6,
    ) {
        let whole = relevant(&events, remembered);
        let before: Events = events.iter().take(cut).map(|(i, e)| (*i, e.clone())).collect();
        let kept = relevant(&before, remembered);
        let forgotten = |id: &EventId| before.contains_key(id) && !kept.contains(id);
        // An acknowledgement of a forgotten boot comes too late.
        let late = |event: &Event| {
            matches!(&event.kind, Kind::Acknowledged { boot } if forgotten(boot))
        };
        let mut rest = events.clone();
        rest.retain(|id, event| kept.contains(id) || !before.contains_key(id) && !late(event));
        let mut all = events.clone();
        all.retain(|id, event| before.contains_key(id) || !late(event));
        prop_assert_eq!(relevant(&rest, remembered), relevant(&all, remembered));
        prop_assert!(whole.len() <= events.len());
    }

    /// Two boot hosts that each know only part of the other's events.
    #[test]
    fn packs_of_different_hosts_can_be_laid_together(
        events in life(), mine in proptest::collection::vec(any::<bool>(), 80),
    ) {
        let part = |wanted: bool| -> Events {
            let parts = events.iter().zip(&mine).filter(|(_, mine)| **mine == wanted);
            parts.map(|((id, event), _)| (*id, event.clone())).collect()
        };
        let (mut one, two) = (part(true), part(false));
        let whole = History::fold(&events);
        one.extend(two.clone());
        one.extend(two);
        prop_assert_eq!(History::fold(&one), whole);
    }

    #[test]
    fn each_published_generation_keeps_a_number_of_its_own(
        numbers in proptest::collection::vec(1u64..5, 0..12),
    ) {
        let events: BTreeMap<_, _> = numbers
            .iter()
            .enumerate()
            .map(|(i, number)| (EventId::after(None, i as u64), published(*number)))
            .collect();
        let history = History::fold(&events);
        prop_assert_eq!(history.generations().count(), numbers.len());
        prop_assert!(history.current().is_none());
    }

    #[test]
    fn reads_what_it_writes(events in life()) {
        let events = events.into_iter().map(|(id, event)| (id, (*event).clone())).collect();
        let pack = Pack { format: FORMAT, events };
        let text = serde_json::to_string(&pack).unwrap();
        prop_assert_eq!(serde_json::from_str::<Pack>(&text).unwrap(), pack);
    }
}

proptest! {
    /// Acknowledgements of boots that never arrived used to be kept forever, and each boot read
    /// them all.
    #[test]
    fn words_about_boots_that_never_arrive_are_bounded(
        ages in proptest::collection::vec(0i64..20, 0..40), remembered in 1usize..10,
    ) {
        let day = 24 * 60 * 60 * 1000;
        let mut events = Events::new();
        for (n, age) in ages.iter().enumerate() {
            let boot = EventId::after(None, n as u64);
            let id = EventId::after(None, (100 - *age as u64) * day + n as u64);
            events.insert(id, event(Kind::Acknowledged { boot }));
        }
        let kept = relevant(&events, remembered);
        let latest = events.keys().next_back().map(|id| id.time());
        let fresh = events.keys().rev().take(remembered);
        let fresh: BTreeSet<_> =
            fresh.filter(|id| latest.unwrap() - id.time() <= AWAITED).copied().collect();
        prop_assert_eq!(&kept, &fresh);
        // The boot of a kept acknowledgement counts when it arrives.
        if let Some(word) = kept.last() {
            let Kind::Acknowledged { boot } = events[word].kind else { unreachable!() };
            let generation = EventId::after(None, 0);
            let mut rest: Events =
                kept.iter().map(|id| (*id, events[id].clone())).collect();
            rest.insert(generation, published(1));
            rest.insert(boot, event(Kind::Booted { generation, certificate: None }));
            prop_assert!(History::fold(&rest).trial(1).is_good());
        }
    }
}

/// A bad generation used to be tried again once its tries were forgotten.
#[test]
fn tries_are_not_forgotten_while_another_generation_boots() {
    let mut events = Events::new();
    let mut last = None;
    let mut push = |kind| {
        let id = EventId::after(last, 0);
        last = Some(id);
        events.insert(id, event(kind));
        id
    };
    let good =
        push(Kind::Published { number: 1, files: BTreeMap::new(), variables: BTreeMap::new() });
    let bad =
        push(Kind::Published { number: 2, files: BTreeMap::new(), variables: BTreeMap::new() });
    push(Kind::Activated { generation: bad });
    for _ in 0..3 {
        push(Kind::Booted { generation: bad, certificate: None });
    }
    for _ in 0..3 * REMEMBERED {
        push(Kind::Booted { generation: good, certificate: None });
    }
    assert_eq!(History::fold(&events).trial(2).tries, 3);
    let kept = relevant(&events, REMEMBERED);
    events.retain(|id, _| kept.contains(id));
    assert_eq!(events.len(), 3 + 3 + REMEMBERED);
    assert_eq!(History::fold(&events).trial(2).tries, 3);
}

#[test]
fn the_last_activation_counts_and_the_one_before_is_the_way_back() {
    let ids: Vec<_> = (0..6).map(|i| EventId::after(None, i)).collect();
    let activated = |generation| event(Kind::Activated { generation });
    let mut events = BTreeMap::from([(ids[0], published(1)), (ids[1], activated(ids[0]))]);
    let current = |events: &_| History::fold(events).current().map(|g| g.number);
    let previous = |events: &_| History::fold(events).previous().map(|g| g.number);
    assert_eq!((current(&events), previous(&events)), (Some(1), None));

    events.insert(ids[2], published(2));
    assert_eq!(current(&events), Some(1), "published is not yet activated");
    events.insert(ids[3], activated(ids[2]));
    assert_eq!((current(&events), previous(&events)), (Some(2), Some(1)));
    events.insert(ids[4], activated(ids[0]));
    assert_eq!((current(&events), previous(&events)), (Some(1), Some(2)));
    events.insert(ids[5], activated(EventId::after(None, 99)));
    assert_eq!(current(&events), Some(1), "what nobody published cannot be activated");
}

#[test]
fn the_secrets_template_is_no_asset() {
    let asset = Asset { sha256: "00".repeat(32).parse().unwrap(), size: 0 };
    let files = [SECRETS, "vmlinuz"].map(|path| (path.to_owned(), asset.clone()));
    let kind = Kind::Published { number: 1, files: files.into(), variables: BTreeMap::new() };
    let history = History::fold(&BTreeMap::from([(EventId::after(None, 0), event(kind))]));
    let generation = history.generation(1).unwrap();
    assert!(generation.asset("vmlinuz").is_some());
    assert!(generation.asset(SECRETS).is_none());
}
