//! The fleet as the status page shows it, shared by everybody who looks at it. It is read for
//! whoever asks, and at most so often that reading it takes a tenth of the time. Open pages are
//! told what changed: once for all of them, however many there are.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::sync::broadcast;

use super::app::App;
use super::background::Wakers;
use super::facts;
use super::facts::Stages;
use super::page;
use super::page::overview::Fleet;

/// Open pages that are told of changes. Half of the operators' connections stay for others.
const WATCHERS: usize = 16;

/// Messages that a slow browser may be behind; then it loads the page again.
const BEHIND: usize = 16;

/// Longest time between two looks while a page is open: commands of other processes announce
/// nothing. Also the interval at which open pages hear that the server is there.
const LOOK: Duration = Duration::from_secs(3);
const BEAT: Duration = Duration::from_secs(15);

/// Pause after news, in which more of them gather.
const GATHER: Duration = Duration::from_millis(250);

/// Reading the fleet takes at most one part in this many of the time.
const SHARE: u32 = 10;

/// Longest age of the fleet that is shown, even if reading it takes long.
const OLDEST: Duration = Duration::from_secs(5);

/// A reading that takes this long is not waited for, except for the first one.
const LONG: Duration = Duration::from_millis(300);

/// Interval of looking at the files of the next boots, as the server's sweep does.
const FILES: Duration = Duration::from_secs(30);

/// Most rows in one message; beyond that, pages load again.
const MOST_ROWS: usize = 50;

/// The shared fleet and those who watch it.
pub(super) struct Board {
    app: Arc<App>,
    stages: Stages,
    /// The last one that was read.
    known: Mutex<Option<Known>>,
    /// Held while the fleet is read.
    reading: Mutex<()>,
    changed: Mutex<BTreeSet<String>>,
    /// `None` once the server stops.
    watchers: Mutex<Option<broadcast::Sender<Arc<str>>>>,
    arrived: Notify,
    /// Tells versions of this process from those of earlier ones.
    epoch: u64,
}

#[derive(Clone)]
struct Known {
    fleet: Arc<Fleet>,
    number: u64,
    read: Instant,
    took: Duration,
    looked_at_files: Instant,
}

/// Somebody who watches.
pub(super) struct Watcher {
    pub(super) messages: broadcast::Receiver<Arc<str>>,
    pub(super) hello: String,
}

/// Messages to open pages.
#[derive(Serialize)]
struct Message<'a> {
    version: &'a str,
    /// Rows by gateway.
    rows: BTreeMap<&'a str, String>,
    /// The summary above the table.
    summary: String,
    /// Too much changed: the page should be loaded again.
    reload: bool,
}

impl Board {
    pub(super) fn new(app: Arc<App>) -> Self {
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos();
        Self {
            app,
            stages: Stages::default(),
            known: Mutex::default(),
            reading: Mutex::default(),
            changed: Mutex::default(),
            watchers: Mutex::new(Some(broadcast::Sender::new(BEHIND))),
            arrived: Notify::new(),
            epoch: (now / 1_000_000) as u64,
        }
    }

    pub(super) fn app(&self) -> &Arc<App> {
        &self.app
    }

    pub(super) fn stages(&self) -> &Stages {
        &self.stages
    }

    /// The fleet, not older than necessary. Blocks; many who ask at once wait for one reading. If
    /// the last reading took long, whoever looks gets the fleet as it was then, and the next one
    /// is read meanwhile.
    pub(super) fn fleet(self: &Arc<Self>) -> Result<Arc<Fleet>> {
        let old = lock(&self.known).as_ref().map(|known| (known.fleet.clone(), known.took));
        let Some((fleet, _)) = old.filter(|(_, took)| *took >= LONG) else { return self.read() };
        // Whoever holds the lock reads it already.
        if self.reading.try_lock().is_ok() {
            let here = self.clone();
            let read = move || {
                if let Err(error) = here.read() {
                    tracing::debug!("the status page is not up to date: {error:#}");
                }
            };
            // Without another thread, this one reads it the next time.
            let _ = std::thread::Builder::new().name("farmgate-page".to_owned()).spawn(read);
        }
        Ok(fleet)
    }

    /// Reads the fleet, unless somebody just did.
    fn read(&self) -> Result<Arc<Fleet>> {
        let _reading = lock(&self.reading);
        let last = lock(&self.known).clone();
        if let Some(known) = last.as_ref().filter(|known| known.is_fresh()) {
            return Ok(known.fleet.clone());
        }
        let began = Instant::now();
        let last = last.as_ref();
        let with_files = last.is_none_or(|last| last.looked_at_files.elapsed() >= FILES);
        let before = last.map(|last| &*last.fleet);
        let mut fleet = facts::fleet(&self.app, &self.stages, before, with_files)?;
        let changes = before.map_or_else(BTreeSet::new, |before| changes(before, &fleet));
        let same = last.is_some_and(|last| changes.is_empty() && alike(&last.fleet, &fleet));
        let number = last.map_or(1, |last| last.number + u64::from(!same));
        fleet.version = format!("{:x}-{number}", self.epoch);
        let fleet = Arc::new(fleet);
        lock(&self.changed).extend(changes);
        let looked_at_files = last.filter(|_| !with_files).map_or(began, |l| l.looked_at_files);
        let took = began.elapsed();
        *lock(&self.known) = Some(Known {
            fleet: fleet.clone(),
            number,
            read: Instant::now(),
            took,
            looked_at_files,
        });
        Ok(fleet)
    }

    /// Lets somebody watch; `None` if too many do, or the server stops.
    pub(super) fn watch(self: &Arc<Self>) -> Result<Option<Watcher>> {
        // Read first: what changes afterwards is among the messages.
        let version = self.fleet()?.version.clone();
        let watchers = lock(&self.watchers);
        let Some(sender) = watchers.as_ref() else { return Ok(None) };
        if sender.receiver_count() >= WATCHERS {
            return Ok(None);
        }
        let messages = sender.subscribe();
        self.arrived.notify_one();
        Ok(Some(Watcher { messages, hello: version }))
    }

    /// Ends all watching.
    pub(super) fn close(&self) {
        *lock(&self.watchers) = None;
    }

    fn is_watched(&self) -> bool {
        lock(&self.watchers).as_ref().is_some_and(|sender| sender.receiver_count() > 0)
    }

    /// Tells the watchers what changed since the last time. Returns whether there was anything.
    fn tell(self: &Arc<Self>, last: &str) -> Result<Option<String>> {
        let fleet = self.fleet()?;
        let changed = std::mem::take(&mut *lock(&self.changed));
        if fleet.version == last {
            return Ok(None);
        }
        let reload = changed.len() > MOST_ROWS;
        let rows: HashMap<&str, _> =
            fleet.rows.iter().map(|row| (row.gateway.name.as_str(), row)).collect();
        let rows = changed.iter().filter(|_| !reload).map(|name| {
            // The row of a gateway that was removed is empty.
            let row = rows.get(name.as_str()).map(|row| page::fleet::row(row, fleet.at));
            (name.as_str(), row.unwrap_or_default())
        });
        let message = Message {
            version: &fleet.version,
            rows: rows.collect(),
            summary: page::fleet::summary_text(&fleet),
            reload,
        };
        self.send(serde_json::to_string(&message)?.into());
        Ok(Some(fleet.version.clone()))
    }

    fn send(&self, message: Arc<str>) {
        if let Some(sender) = lock(&self.watchers).as_ref() {
            // Nobody may be watching any more.
            let _ = sender.send(message);
        }
    }
}

impl Known {
    fn is_fresh(&self) -> bool {
        self.read.elapsed() < (self.took * SHARE).min(OLDEST)
    }
}

/// Tells watchers of changes as long as the server runs. Does nothing while nobody watches.
pub(super) async fn run(board: Arc<Board>, wakers: Arc<Wakers>) {
    let (mut version, mut beat) = (String::new(), Instant::now());
    loop {
        if !board.is_watched() {
            board.arrived.notified().await;
        }
        let _ = tokio::time::timeout(LOOK, wakers.page.notified()).await;
        tokio::time::sleep(GATHER).await;
        let (here, last) = (board.clone(), version.clone());
        match tokio::task::spawn_blocking(move || here.tell(&last)).await {
            Ok(Ok(Some(new))) => version = new,
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::debug!("the status page is not up to date: {error:#}"),
            Err(error) => tracing::error!("the status page failed: {error}"),
        }
        if beat.elapsed() >= BEAT {
            beat = Instant::now();
            board.send("{}".into());
        }
    }
}

/// Gateways that are shown differently, that are new, or that are gone.
fn changes(before: &Fleet, after: &Fleet) -> BTreeSet<String> {
    let by_name = |fleet| {
        let Fleet { rows, .. }: &Fleet = fleet;
        rows.iter().map(|row| (row.gateway.name.clone(), row)).collect::<HashMap<_, _>>()
    };
    let (before, after) = (by_name(before), by_name(after));
    let gone = before.keys().filter(|name| !after.contains_key(*name)).cloned();
    let new = after.iter().filter(|(name, row)| before.get(*name).is_none_or(|b| !b.is_like(row)));
    gone.chain(new.map(|(name, _)| name.clone())).collect()
}

/// Says whether the rest is the same.
fn alike(before: &Fleet, after: &Fleet) -> bool {
    (&before.notices, &before.rollouts, &before.store)
        == (&after.notices, &after.rollouts, &after.store)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What runs under these locks leaves them consistent wherever it could panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
