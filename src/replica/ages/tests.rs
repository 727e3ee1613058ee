//! Hosts that publish and hosts that delete, in every order: a model of the shared store.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Small spans, so that steps of a few units reach every limit.
const AGES: Ages = Ages { grace: Duration::from_secs(160), deadline: Duration::from_secs(20) };

type Blob = u8;

/// The shared store: files with the time when they were sent, and the files that events name.
#[derive(Default)]
struct Store {
    now: u64,
    files: BTreeMap<Blob, u64>,
    events: Vec<BTreeSet<Blob>>,
    /// Events whose generation is kept.
    kept: BTreeSet<usize>,
}

impl Store {
    fn age(&self, blob: Blob) -> Option<Duration> {
        Some(Duration::from_secs(self.now - self.files.get(&blob)?))
    }

    fn named(&self) -> BTreeSet<Blob> {
        self.kept.iter().flat_map(|event| self.events[*event].iter().copied()).collect()
    }
}

/// A host that publishes one generation after the other. Each call of `step` is one request.
#[derive(Default)]
struct Publisher {
    wishes: Vec<BTreeSet<Blob>>,
    looked_at: BTreeMap<Blob, u64>,
    began: Option<u64>,
    /// Files to look at again, and since when.
    confirm: Vec<(Blob, u64)>,
    /// Without it the model must find the race.
    confirms: bool,
}

impl Publisher {
    fn step(&mut self, store: &mut Store) {
        let since = |then: u64| Duration::from_secs(store.now - then);
        if let Some(at) = self.confirm.iter().position(|(_, then)| AGES.is_settled(since(*then))) {
            let (blob, _) = self.confirm.swap_remove(at);
            store.files.entry(blob).or_insert(store.now);
            return;
        }
        let Some(wish) = self.wishes.last().cloned() else { return };
        let began = *self.began.get_or_insert(store.now);
        let known = |blob: &&Blob| {
            !self.looked_at.get(*blob).is_some_and(|then| AGES.still_counts(since(*then)))
        };
        if let Some(blob) = wish.iter().find(known).copied() {
            if !store.age(blob).is_some_and(|age| AGES.is_fresh(age)) {
                store.files.insert(blob, store.now);
                if self.confirms {
                    self.confirm.push((blob, store.now));
                }
            }
            self.looked_at.insert(blob, store.now);
        } else if AGES.may_publish(since(began)) {
            // A deletion may have begun until the event is there.
            for (_, then) in self.confirm.iter_mut().filter(|(blob, _)| wish.contains(blob)) {
                *then = store.now;
            }
            store.kept.insert(store.events.len());
            store.events.push(wish);
            self.wishes.pop();
            self.began = None;
        } else {
            self.began = None;
        }
    }
}

/// A host that deletes. Each step is one request.
#[derive(Default)]
enum Collector {
    #[default]
    Idle,
    Listed {
        at: u64,
        old: BTreeMap<Blob, u64>,
    },
    Passed {
        at: u64,
        unnamed: Vec<(Blob, u64)>,
    },
    Rechecked {
        at: u64,
        unnamed: Vec<(Blob, u64)>,
        delete: Blob,
    },
}

impl Collector {
    fn step(&mut self, store: &mut Store) {
        let since = |then: u64| Duration::from_secs(store.now - then);
        *self = match std::mem::take(self) {
            Self::Idle => {
                let old = store
                    .files
                    .iter()
                    .filter(|(blob, _)| store.age(**blob).is_some_and(|age| AGES.is_old(age)));
                Self::Listed { at: store.now, old: old.map(|(b, t)| (*b, *t)).collect() }
            }
            Self::Listed { at, old } => {
                let named = store.named();
                let unnamed = old.into_iter().filter(|(blob, _)| !named.contains(blob));
                Self::Passed { at, unnamed: unnamed.collect() }
            }
            Self::Passed { at, mut unnamed } => match unnamed.pop() {
                Some((blob, sent)) if AGES.may_delete(since(at)) => {
                    match store.files.get(&blob) == Some(&sent) {
                        true => Self::Rechecked { at, unnamed, delete: blob },
                        false => Self::Passed { at, unnamed },
                    }
                }
                _ => Self::Idle,
            },
            Self::Rechecked { at, unnamed, delete } => {
                // The request that runs is over by the deadline, or it was never sent.
                if !AGES.is_settled(since(at)) {
                    store.files.remove(&delete);
                }
                Self::Passed { at, unnamed }
            }
        };
    }
}

/// Runs the steps, and returns events that lack a file while nobody is about to send it again.
fn lost(wishes: Vec<Vec<BTreeSet<Blob>>>, steps: &[(u8, u8)], confirms: bool) -> Vec<usize> {
    let mut store = Store::default();
    let mut publishers: Vec<_> = wishes
        .into_iter()
        .map(|wishes| Publisher { wishes, confirms, ..Publisher::default() })
        .collect();
    let mut collectors = [Collector::default(), Collector::default()];
    let lacking = |store: &Store, publishers: &[Publisher]| -> Vec<usize> {
        let coming: BTreeSet<Blob> =
            publishers.iter().flat_map(|host| host.confirm.iter().map(|(b, _)| *b)).collect();
        let lacks = |event: &&usize| {
            let files = &store.events[**event];
            files.iter().any(|blob| !store.files.contains_key(blob) && !coming.contains(blob))
        };
        store.kept.iter().filter(lacks).copied().collect()
    };
    for (actor, wait) in steps {
        store.now += u64::from(*wait);
        match actor % 8 {
            0..3 => {
                let number = publishers.len();
                publishers[usize::from(*actor) % number].step(&mut store);
            }
            3..7 => collectors[usize::from(actor % 2)].step(&mut store),
            // The oldest generation is dropped.
            _ => drop(store.kept.pop_first()),
        }
        let lacking = lacking(&store, &publishers);
        if !lacking.is_empty() {
            return lacking;
        }
    }
    // Once everybody has come to rest, all files are there.
    for publisher in &mut publishers {
        publisher.wishes.clear();
        for _ in 0..publisher.confirm.len() {
            store.now += AGES.deadline.as_secs();
            publisher.step(&mut store);
        }
    }
    lacking(&store, &publishers)
}

fn wishes() -> impl Strategy<Value = Vec<Vec<BTreeSet<Blob>>>> {
    let files = proptest::collection::btree_set(0u8..4, 1..3);
    proptest::collection::vec(proptest::collection::vec(files, 0..8), 1..4)
}

/// Mostly short waits, and now and then one that makes files old.
fn steps() -> impl Strategy<Value = Vec<(u8, u8)>> {
    let wait = prop_oneof![6 => 0u8..3, 2 => 3u8..25, 1 => 80u8..200];
    proptest::collection::vec((any::<u8>(), wait), 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn each_file_of_a_kept_generation_is_there_or_comes_back(wishes in wishes(), steps in steps()) {
        prop_assert_eq!(lost(wishes, &steps, true), Vec::<usize>::new());
    }
}

/// The race that the second look is for: sent again between the last look and the deletion.
#[test]
fn without_a_second_look_a_file_can_be_lost() {
    let files = || vec![vec![BTreeSet::from([1]), BTreeSet::from([1])]];
    // Publish, drop, wait; a collector lists, passes, looks; the publisher looks, sends again and
    // publishes; the collector deletes.
    let steps = [(0, 0), (0, 0), (7, 0), (4, 200), (4, 0), (4, 0), (0, 0), (0, 0), (4, 0)];
    assert_eq!(lost(files(), &steps, false), [1]);
    assert_eq!(lost(files(), &steps, true), Vec::<usize>::new());
}
