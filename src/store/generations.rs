//! Reads and writes the events of gateways: `STATE/store/gateways/ID/EVENT.json`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use serde::Deserialize;
use time::OffsetDateTime;

use super::State;
use super::blobs::Blobs;
use super::events::Event;
use super::events::EventId;
use super::events::FORMAT;
use super::events::Kind;
use super::files;
use super::history::History;

/// So many events of a gateway are kept before they are folded into one: what a
/// request lists stays small, also for a machine that boots in a circle.
const MOST_EVENTS: usize = 256;

/// Listings in a row that a compaction may disturb.
const MOST_LISTINGS: usize = 8;

type Events = BTreeMap<EventId, Arc<Event>>;

/// The generations of all gateways.
#[derive(Clone, Debug)]
pub struct Generations {
    blobs: Blobs,
    dir: PathBuf,
}

impl Generations {
    /// The generations that `state` holds.
    pub fn new(state: &State) -> Self {
        let store = state.store_dir();
        Self { blobs: Blobs::new(store.join("blobs")), dir: store.join("gateways") }
    }

    /// The blobs that assets are kept in.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Everything known of a gateway's generations. An event that cannot be
    /// read is an error: whoever is about to change something must know all.
    pub fn history(&self, gateway: &str) -> Result<History> {
        let (events, unreadable) = self.read(gateway, &BTreeMap::new(), &BTreeSet::new())?;
        match unreadable.into_values().next() {
            Some(unreadable) => Err(unreadable.error),
            None => Ok(History::fold(&events)),
        }
    }

    /// Writes one event, later than all others of this gateway. Once this returns,
    /// the event outlasts a power failure.
    pub fn append(&self, gateway: &str, kind: Kind, now: OffsetDateTime) -> Result<EventId> {
        let dir = self.dir.join(gateway);
        files::create_dir(&dir, 0o700)?;
        // Held by one writer at a time, so that no event gets a name that a snapshot
        // already covers. Readers need no lock, other gateways have their own.
        let _lock = files::lock(&dir.join("lock"))?;
        let names = event_names(&dir)?;
        let id = write_event(&dir, names.last().copied(), kind, now)?;
        if names.len() >= MOST_EVENTS
            && let Err(error) = self.compact(gateway, &dir, now)
        {
            tracing::warn!(gateway, "events are kept longer than needed: {error:#}");
        }
        Ok(id)
    }

    /// Folds all events into one, and deletes them once that is safely on disk.
    fn compact(&self, gateway: &str, dir: &Path, now: OffsetDateTime) -> Result<()> {
        let (events, unreadable) = self.read(gateway, &BTreeMap::new(), &BTreeSet::new())?;
        if let Some(unreadable) = unreadable.into_values().next() {
            return Err(unreadable.error);
        }
        let Some(through) = events.keys().next_back().copied() else { return Ok(()) };
        let history = Box::new(History::fold(&events));
        write_event(dir, Some(through), Kind::Snapshot { through, history }, now)?;
        for id in events.keys() {
            fs::remove_file(dir.join(file_name(*id)))?;
        }
        Ok(())
    }

    /// Forgets all events of a gateway.
    pub fn remove(&self, gateway: &str) -> Result<()> {
        let dir = self.dir.join(gateway);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", dir.display()))
            }
            _ => Ok(()),
        }
    }

    /// All events, of which only those not in `known` or `skip` are read anew, and
    /// for each that cannot be read the reason. An event is never changed, so
    /// what was read once stays true.
    fn read(
        &self,
        gateway: &str,
        known: &Events,
        skip: &BTreeSet<EventId>,
    ) -> Result<(Events, BTreeMap<EventId, Unreadable>)> {
        let dir = self.dir.join(gateway);
        'listing: for _ in 0..MOST_LISTINGS {
            let mut events = BTreeMap::new();
            let mut unreadable = BTreeMap::new();
            for id in event_names(&dir)? {
                if let Some(event) = known.get(&id) {
                    events.insert(id, event.clone());
                } else if !skip.contains(&id) {
                    match read_event(&dir.join(file_name(id))) {
                        Ok(Some(event)) => drop(events.insert(id, Arc::new(event))),
                        // A snapshot has just taken its place.
                        Ok(None) => continue 'listing,
                        Err(error) => drop(unreadable.insert(id, error)),
                    }
                }
            }
            return Ok((events, unreadable));
        }
        bail!("the events in {} vanish while they are read", dir.display())
    }
}

fn write_event(
    dir: &Path,
    last: Option<EventId>,
    kind: Kind,
    now: OffsetDateTime,
) -> Result<EventId> {
    let millis = (now.unix_timestamp_nanos() / 1_000_000).try_into().unwrap_or(0);
    let id = EventId::after(last, millis);
    let event = Event { format: FORMAT, at: now, kind };
    files::replace(&dir.join(file_name(id)), 0o600, |file| {
        serde_json::to_writer(&mut *file, &event)?;
        file.write_all(b"\n")
    })?;
    Ok(id)
}

fn file_name(id: EventId) -> String {
    format!("{id}.json")
}

fn event_names(dir: &Path) -> Result<BTreeSet<EventId>> {
    let read = || -> io::Result<BTreeSet<EventId>> {
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            entries => entries?,
        };
        let mut names = BTreeSet::new();
        for entry in entries {
            let name = entry?.file_name();
            names.extend(name.to_str().and_then(|n| EventId::parse(n.strip_suffix(".json")?)));
        }
        Ok(names)
    };
    read().with_context(|| format!("cannot read {}", dir.display()))
}

/// Why an event could not be read.
struct Unreadable {
    error: anyhow::Error,
    /// Its bytes were read, and mean nothing to this program: to try again is vain.
    lasting: bool,
}

/// `None` if the event is not there any more.
fn read_event(path: &Path) -> Result<Option<Event>, Unreadable> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let error =
                anyhow::Error::new(error).context(format!("cannot read {}", path.display()));
            return Err(Unreadable { error, lasting: false });
        }
    };
    parse_event(path, &text).map(Some).map_err(|error| Unreadable { error, lasting: true })
}

fn parse_event(path: &Path, text: &[u8]) -> Result<Event> {
    #[derive(Deserialize)]
    struct Envelope {
        format: u32,
    }
    let damaged = || format!("{} is damaged; restore it from a backup", path.display());
    let Envelope { format } = serde_json::from_slice(text).with_context(damaged)?;
    ensure!(
        format <= FORMAT,
        "{} was written by a newer farmgate (format {format}, this one knows {FORMAT}); \
         install that version",
        path.display()
    );
    serde_json::from_slice(text).with_context(damaged)
}

/// Generations as the server sees them: a request lists one small directory, and
/// reads only the events that came since the last one.
#[derive(Debug)]
pub struct LiveGenerations {
    generations: Generations,
    snapshots: Mutex<HashMap<String, Arc<Snapshot>>>,
}

#[derive(Debug, Default)]
struct Snapshot {
    events: Events,
    unreadable: BTreeSet<EventId>,
    history: Arc<History>,
}

impl LiveGenerations {
    /// Follows `generations`.
    pub fn new(generations: Generations) -> Self {
        Self { generations, snapshots: Mutex::default() }
    }

    /// The blobs that assets are kept in.
    pub fn blobs(&self) -> &Blobs {
        self.generations.blobs()
    }

    /// What is known of a gateway's generations now. An event that cannot be read
    /// is reported once and left out; when the directory cannot be read, what was
    /// last seen still holds: a boot must not fail for it.
    pub fn history(&self, gateway: &str) -> Result<Arc<History>> {
        let last = self.lock().get(gateway).cloned();
        let none = Snapshot::default();
        let known = last.as_deref().unwrap_or(&none);
        let (events, failed) =
            match self.generations.read(gateway, &known.events, &known.unreadable) {
                Ok(read) => read,
                Err(error) => {
                    let last = last.ok_or(error)?;
                    tracing::warn!(gateway, "events cannot be read; serving what was last seen");
                    return Ok(last.history.clone());
                }
            };
        if let Some(last) = &last
            && last.events.keys().eq(events.keys())
            && failed.is_empty()
        {
            return Ok(last.history.clone());
        }
        for unreadable in failed.values() {
            tracing::error!(gateway, "left out an event: {:#}", unreadable.error);
        }
        let lasting = failed.into_iter().filter(|(_, unreadable)| unreadable.lasting);
        let unreadable =
            known.unreadable.iter().copied().chain(lasting.map(|(id, _)| id)).collect();
        let history = Arc::new(History::fold(&events));
        let snapshot = Snapshot { events, unreadable, history: history.clone() };
        self.lock().insert(gateway.to_owned(), Arc::new(snapshot));
        Ok(history)
    }

    /// See [`Generations::append`].
    pub fn append(&self, gateway: &str, kind: Kind, now: OffsetDateTime) -> Result<EventId> {
        self.generations.append(gateway, kind, now)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Snapshot>>> {
        // Nothing that could panic runs while the map is locked.
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
