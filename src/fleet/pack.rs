//! Objects with a gateway's events: one event each, or a pack of several. Their names and bytes are
//! the same in a directory and in a bucket. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use anyhow::Result;
use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

use super::Event;
use super::EventId;
use super::Events;
use super::REMEMBERED;
use super::event::FORMAT;
use super::event::KNOWN_FORMAT;
use super::format;
use super::relevant;

/// An object of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectName {
    /// One event.
    Event(EventId),
    /// A pack of events.
    Pack(EventId),
}

impl ObjectName {
    /// Parses an object's file name; `None` if it is not one.
    pub fn parse(file_name: &str) -> Option<Self> {
        let name = file_name.strip_suffix(".json")?;
        match name.strip_prefix("pack-") {
            Some(name) => EventId::parse(name).map(Self::Pack),
            None => EventId::parse(name).map(Self::Event),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(id) => write!(f, "{id}.json"),
            Self::Pack(id) => write!(f, "pack-{id}.json"),
        }
    }
}

/// Parses the events in an object; `place` says where the object is, for errors.
pub fn parse_object(place: &dyn fmt::Display, name: ObjectName, text: &[u8]) -> Result<Events> {
    let damaged = || {
        format!(
            "{place} is damaged; restore it from a backup, or move it away to go on without what \
             it said"
        )
    };
    Ok(match name {
        ObjectName::Event(id) => {
            let event: Event = format::read(place, text, KNOWN_FORMAT, &damaged)?;
            Events::from([(id, Arc::new(event))])
        }
        ObjectName::Pack(_) => {
            let pack: Pack = format::read(place, text, KNOWN_FORMAT, &damaged)?;
            pack.events.into_iter().map(|(id, event)| (id, Arc::new(event))).collect()
        }
    })
}

/// Many events in one object, so that there are fewer objects. A pack holds its events unchanged.
/// So an event may exist beside its pack, and in several packs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pack {
    /// The newest format of its events.
    pub format: u32,
    /// The events by id.
    pub events: BTreeMap<EventId, Event>,
}

/// All of `events` that still matter, with an id for the pack that is later than theirs; `None` if
/// none is left.
pub fn pack(events: &Events, now: OffsetDateTime) -> Option<(ObjectName, Pack)> {
    let latest = *events.keys().next_back()?;
    let kept = relevant(events, REMEMBERED);
    let kept = events.iter().filter(|(id, _)| kept.contains(id));
    let events: BTreeMap<_, _> = kept.map(|(id, event)| (*id, (**event).clone())).collect();
    let format = events.values().map(|event| event.kind.format()).max().unwrap_or(FORMAT);
    let name = ObjectName::Pack(EventId::after(Some(latest), unix_millis(now)));
    Some((name, Pack { format, events }))
}

/// Milliseconds since the Unix epoch; 0 before it.
pub fn unix_millis(time: OffsetDateTime) -> u64 {
    (time.unix_timestamp_nanos() / 1_000_000).try_into().unwrap_or(0)
}
