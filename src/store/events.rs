//! What happened to a gateway's generations, as immutable events, and the state
//! that they fold to. Pure: the same events give the same state, whatever the
//! order in which they arrive.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::blobs::BlobId;

/// Version of the event objects that this program writes.
pub const FORMAT: u32 = 1;

/// Name of an event: a UUIDv7 (RFC 9562, section 5.7), so that names sort by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(Uuid);

impl EventId {
    /// A new name: later than `last`, also when the clock was set back since.
    /// `now` is in milliseconds since the Unix epoch.
    pub fn after(last: Option<Self>, now: u64) -> Self {
        let earliest = last.map_or(0, |last| last.millis() + 1);
        let millis = now.max(earliest);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random()).into_uuid())
    }

    fn millis(self) -> u64 {
        // The first 48 bits (RFC 9562, section 5.7).
        (self.0.as_u128() >> 80) as u64
    }

    /// Reads the name of an event; `None` if `text` is none.
    pub fn parse(text: &str) -> Option<Self> {
        let uuid = Uuid::try_parse(text).ok()?;
        (uuid.get_version_num() == 7 && uuid.to_string() == text).then_some(Self(uuid))
    }
}

fn random() -> [u8; 10] {
    let mut bytes = [0; 10];
    // The version nibble of a UUIDv4 is at byte 6; the last eight hold 62 random bits.
    bytes.copy_from_slice(&Uuid::new_v4().as_bytes()[6..]);
    bytes
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One event, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    /// [`FORMAT`] of the program that wrote it.
    pub format: u32,
    /// When, by the clock of whoever wrote it. For people; order comes from the name.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// What happened.
    #[serde(flatten)]
    pub kind: Kind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Kind {
    /// A generation was stored. Nobody gets it yet.
    Published {
        /// The number that its publisher chose.
        number: u64,
        /// Its files by path.
        files: BTreeMap<String, Asset>,
    },
    /// From now on gateways get this generation.
    Activated {
        /// Name of the event that published it.
        generation: EventId,
    },
}

/// A file of a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Asset {
    /// Its bytes.
    pub sha256: BlobId,
    /// How many they are.
    pub size: u64,
}

/// Path of the boot script within a generation.
pub const BOOT_SCRIPT: &str = "boot.ipxe";

/// Longest boot script, in bytes. iPXE keeps it in memory beside the kernel, and
/// the server renders it in memory.
pub const MAX_SCRIPT_LEN: u64 = 1024 * 1024;

/// Path of the secrets template within a generation. Never served as a file.
pub const SECRETS: &str = "secrets";

/// An immutable, numbered set of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its number: 1 is the first.
    pub number: u64,
    /// The event that published it.
    pub id: EventId,
    /// When it was published.
    pub published: OffsetDateTime,
    files: BTreeMap<String, Asset>,
}

impl Generation {
    /// The file at `path`, if gateways may have it.
    pub fn asset(&self, path: &str) -> Option<&Asset> {
        if path == SECRETS { None } else { self.files.get(path) }
    }

    /// All files by path.
    pub fn files(&self) -> &BTreeMap<String, Asset> {
        &self.files
    }
}

/// What the events of one gateway fold to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    generations: BTreeMap<u64, Arc<Generation>>,
    /// Numbers in the order in which they went live; the last one is live now.
    activations: Vec<u64>,
}

impl History {
    /// Folds events, in whatever order they come.
    pub fn fold(events: &BTreeMap<EventId, Arc<Event>>) -> Self {
        let mut history = Self::default();
        let mut numbers = BTreeMap::new();
        for (id, event) in events {
            if let Kind::Published { number, files } = &event.kind {
                // Two publishers may have chosen the same number: the earlier event
                // keeps it, the later one gets the next that is free.
                let taken = |number: &u64| history.generations.contains_key(number);
                let number = (*number..=u64::MAX).find(|n| !taken(n)).unwrap_or(u64::MAX);
                let generation =
                    Generation { number, id: *id, published: event.at, files: files.clone() };
                history.generations.insert(number, Arc::new(generation));
                numbers.insert(*id, number);
            }
        }
        for event in events.values() {
            if let Kind::Activated { generation } = &event.kind
                && let Some(number) = numbers.get(generation)
            {
                history.activations.push(*number);
            }
        }
        history
    }

    /// The generation that gateways get.
    pub fn current(&self) -> Option<&Arc<Generation>> {
        self.activations.last().and_then(|number| self.generations.get(number))
    }

    /// The generation that gateways got before the current one.
    pub fn previous(&self) -> Option<&Arc<Generation>> {
        let current = self.activations.last()?;
        let number = self.activations.iter().rev().find(|number| *number != current)?;
        self.generations.get(number)
    }

    /// The generation with this number.
    pub fn generation(&self, number: u64) -> Option<&Arc<Generation>> {
        self.generations.get(&number)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(kind: Kind) -> Arc<Event> {
        Arc::new(Event { format: FORMAT, at: OffsetDateTime::UNIX_EPOCH, kind })
    }

    fn published(number: u64) -> Arc<Event> {
        event(Kind::Published { number, files: BTreeMap::new() })
    }

    proptest! {
        #[test]
        fn names_grow_whatever_the_clock_does(clock in proptest::collection::vec(0u64..1 << 47, 1..50)) {
            let mut last = None;
            for now in clock {
                let id = EventId::after(last, now);
                prop_assert!(Some(id) > last);
                prop_assert_eq!(EventId::parse(&id.to_string()), Some(id));
                last = Some(id);
            }
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
        let kind = Kind::Published { number: 1, files: files.into() };
        let history = History::fold(&BTreeMap::from([(EventId::after(None, 0), event(kind))]));
        let generation = history.generation(1).unwrap();
        assert!(generation.asset("vmlinuz").is_some());
        assert!(generation.asset(SECRETS).is_none());
    }
}
