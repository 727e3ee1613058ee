//! Crashes, disk errors, and many concurrent writers.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::Weak;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use proptest::prelude::*;
use tempfile::TempDir;
use time::OffsetDateTime;

use super::*;
use crate::fleet::Event;
use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::fleet::Kind;
use crate::fleet::ObjectName;
use crate::fleet::event::FORMAT;
use crate::store::generations::Generations;
use crate::store::objects;
use crate::store::objects::to_bytes;

/// A disk that loses everything unsynced in a power failure.
#[derive(Debug, Default)]
struct Fake {
    content: Mutex<Content>,
    /// Folder of the objects.
    gateways: PathBuf,
    /// Events that wait while the first group is synced, and a handle on their number.
    crowd: usize,
    log: OnceLock<Weak<CommitLog>>,
}

#[derive(Debug, Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Writes since the last sync.
    pending: Vec<(usize, Vec<u8>)>,
    durable_objects: BTreeSet<PathBuf>,
    syncs: usize,
    fails: BTreeSet<Act>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Write,
    Sync,
    SyncObjects,
}

impl Content {
    /// The next of these calls fails, and the one after it succeeds.
    fn may(&mut self, act: Act) -> io::Result<()> {
        if self.fails.remove(&act) { Err(io::Error::other("broken")) } else { Ok(()) }
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    bytes.resize(bytes.len().max(at + new.len()), 0);
    bytes[at..at + new.len()].copy_from_slice(new);
}

fn all_objects(gateways: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let dirs = fs::read_dir(gateways).unwrap().map(|entry| entry.unwrap().path());
    let files = dirs.flat_map(|dir| fs::read_dir(dir).unwrap()).map(|entry| entry.unwrap().path());
    let objects = files.filter(|path| path.extension().is_some_and(|e| e == "json"));
    // A pack has just replaced it.
    objects.filter_map(|path| Some((path.clone(), fs::read(path).ok()?))).collect()
}

fn inodes(gateways: &Path) -> BTreeMap<PathBuf, u64> {
    let paths = all_objects(gateways).into_keys();
    paths.filter_map(|path| Some((path.clone(), fs::metadata(path).ok()?.ino()))).collect()
}

/// In memory where possible: there, thousands of syncs cost nothing.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

impl Fake {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all_objects_are_durable(&self) {
        self.content().durable_objects.extend(all_objects(&self.gateways).into_keys());
    }
}

impl Disk for Fake {
    fn read(&self) -> io::Result<Vec<u8>> {
        Ok(self.content().seen.clone())
    }

    fn write(&self, bytes: &[u8], at: usize) -> io::Result<()> {
        let mut content = self.content();
        put(&mut content.seen, at, bytes);
        content.pending.push((at, bytes.to_vec()));
        content.may(Act::Write)
    }

    fn sync(&self) -> io::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        if let Some(log) = self.log.get().and_then(Weak::upgrade)
            && self.content().syncs == 0
        {
            while log.lock().waiting.len() < self.crowd {
                assert!(Instant::now() < deadline, "they never came");
                thread::yield_now();
            }
        }
        let mut content = self.content();
        content.syncs += 1;
        if content.syncs > 1 || self.crowd == 0 {
            content.may(Act::Sync)?;
        }
        for (at, bytes) in std::mem::take(&mut content.pending) {
            put(&mut content.durable, at, &bytes);
        }
        Ok(())
    }

    fn sync_objects(&self) -> io::Result<()> {
        self.content().may(Act::SyncObjects)?;
        self.all_objects_are_durable();
        Ok(())
    }
}

/// A store with gateways that can record events.
struct Store {
    dir: TempDir,
    disk: Arc<Fake>,
    log: Arc<CommitLog>,
}

fn gateway(number: usize) -> GatewayId {
    format!("lab-{number}").parse().unwrap()
}

fn published(number: u64) -> Kind {
    Kind::Published { number, files: BTreeMap::new(), variables: BTreeMap::new() }
}

impl Store {
    fn new(half: usize, crowd: usize) -> Self {
        let dir = directory();
        let gateways = dir.path().join("gateways");
        fs::create_dir(&gateways).unwrap();
        let disk = Arc::new(Fake { gateways, crowd, ..Fake::default() });
        let mut log = CommitLog { half, ..CommitLog::new(dir.path()) };
        log.inner.get_mut().unwrap().disk = Some(disk.clone());
        Self { dir, disk, log: Arc::new(log) }
    }

    fn plain(&self) -> Generations {
        Generations::in_store(self.dir.path())
    }

    fn logged(&self) -> Generations {
        self.plain().with_log(self.log.clone())
    }

    fn used(&self) -> usize {
        self.log.lock().halves.iter().map(|half| half.used).sum()
    }
}

#[test]
fn those_who_come_at_the_same_moment_share_a_sync() {
    const GATEWAYS: usize = 32;
    for second_fails in [false, true] {
        let store = Store::new(HALF, GATEWAYS - 1);
        store.disk.log.set(Arc::downgrade(&store.log)).unwrap();
        if second_fails {
            store.disk.content().fails.insert(Act::Sync);
        }
        thread::scope(|scope| {
            for number in 0..GATEWAYS {
                let generations = store.logged();
                scope.spawn(move || {
                    let now = OffsetDateTime::now_utc();
                    let id = generations.append(&gateway(number), published(1), now).unwrap();
                    // After an answer, the event can be read.
                    let events = generations.events(&gateway(number)).unwrap();
                    assert!(events.keys().eq([&id]));
                });
            }
        });
        // The first one alone, and then all others together.
        assert_eq!(store.disk.content().syncs, 2);
        assert_eq!(store.log.lock().broken, second_fails);
        let lines = store.disk.read().unwrap();
        assert_eq!(line::read(&lines).count(), GATEWAYS);
        assert_eq!(store.used() == lines.len(), !second_fails);
        assert!(store.log.lock().halves.iter().all(|half| half.unnamed == 0));
    }
}

#[test]
fn a_log_that_failed_is_left_alone_until_it_is_mended() {
    let store = Store::new(HALF, 0);
    let append = |number| {
        let now = OffsetDateTime::now_utc();
        store.logged().append(&gateway(0), published(number), now).unwrap();
        store.disk.content().syncs
    };
    assert_eq!(append(1), 1);
    for act in [Act::Write, Act::Sync] {
        store.disk.content().fails.insert(act);
        let before = append(2);
        assert_eq!(append(3), before, "{act:?}");
        store.log.tend();
        assert_eq!(store.used(), 0);
        assert_eq!(append(4), before + 2, "emptied, and used again after {act:?}");
    }
    store.disk.content().fails.insert(Act::SyncObjects);
    store.log.tend();
    assert!(store.log.lock().broken);
    store.log.tend();
    assert!(!store.log.lock().broken);
    assert_eq!(store.plain().events(&gateway(0)).unwrap().len(), 7);
}

/// No writer waits for space.
#[test]
fn where_the_log_is_full_events_are_written_without_it() {
    let store = Store::new(300, 0);
    let append = |number| {
        store.logged().append(&gateway(0), published(number), OffsetDateTime::now_utc()).unwrap();
    };
    // As if a checkpoint ran all the time.
    store.log.lock().emptying = true;
    for number in 1..9 {
        append(number);
    }
    assert_eq!(store.disk.content().syncs, 2, "one event fits in each half");
    store.log.lock().emptying = false;
    store.log.checkpoint();
    append(9);
    assert!(store.disk.content().syncs > 3);
    assert_eq!(store.plain().events(&gateway(0)).unwrap().len(), 9);
}

#[test]
fn a_log_is_one_servers_and_it_keeps_the_file() {
    let dir = directory();
    fs::create_dir(dir.path().join("gateways")).unwrap();
    let open = || {
        let log = Arc::new(CommitLog::new(dir.path()));
        log.tend();
        log
    };
    let (one, other) = (open(), open());
    assert!(!one.lock().is_unusable() && other.lock().is_unusable());
    let generations = |log: &Arc<CommitLog>| {
        Generations::in_store(dir.path()).with_log(log.clone()).with_patience(Duration::ZERO)
    };
    for log in [&one, &other] {
        generations(log).append(&gateway(0), published(1), OffsetDateTime::now_utc()).unwrap();
    }
    let length = || fs::metadata(dir.path().join(NAME)).unwrap().len();
    assert_eq!((length(), one.lock().halves[0].used > 0), (2 * HALF as u64, true));
    // A concurrent command does not use the log.
    recover_left_over(dir.path());
    let lines = || line::read(&fs::read(dir.path().join(NAME)).unwrap()).count();
    assert_eq!(lines(), 1);
    drop(one);
    other.tend();
    assert!(!other.lock().is_unusable());
    assert_eq!((length(), lines()), (2 * HALF as u64, 0));
    assert_eq!(generations(&other).events(&gateway(0)).unwrap().len(), 2);
}

/// The event's line is in the log, and the object has no name that could be synced.
#[test]
fn the_line_of_an_object_without_a_name_stays() {
    let store = Store::new(HALF, 0);
    let (id, event) = (gateway(0), EventId::after(None, 1));
    let path = store.disk.gateways.join(&id).join(ObjectName::Event(event).to_string());
    fs::create_dir(path.parent().unwrap()).unwrap();
    let logged = store.log.commit(&id, event, b"{}\n").unwrap();
    thread::scope(|scope| {
        let emptying = scope.spawn(|| store.log.tend());
        while !store.log.lock().emptying && !emptying.is_finished() {
            thread::yield_now();
        }
        // Others can record events meanwhile, and nobody else empties it.
        assert!(store.log.commit(&id, EventId::after(None, 2), b"{}\n").is_some());
        store.log.checkpoint();
        fs::write(&path, "{}\n").unwrap();
        drop(logged);
    });
    assert!(store.disk.content().durable_objects.contains(&path));
}

#[derive(Clone, Debug)]
enum Step {
    /// The server records an event.
    Append(usize),
    /// The server records an event, and power fails before the object has its name.
    Unnamed(usize),
    /// A command records an event.
    Command(usize),
    Condense(usize),
    Remove(usize),
    Tend,
    Fail(Act),
}

fn step() -> impl Strategy<Value = Step> {
    let gateway = 0..3_usize;
    prop_oneof![
        8 => gateway.clone().prop_map(Step::Append),
        1 => gateway.clone().prop_map(Step::Unnamed),
        2 => gateway.clone().prop_map(Step::Command),
        1 => gateway.clone().prop_map(Step::Condense),
        1 => gateway.prop_map(Step::Remove),
        2 => Just(Step::Tend),
        1 => prop_oneof![Just(Act::Write), Just(Act::Sync), Just(Act::SyncObjects)]
            .prop_map(Step::Fail),
    ]
}

/// The events that were answered.
#[derive(Default)]
struct Model {
    /// Number of times that each gateway was removed: later events belong to a new one.
    lives: [usize; 3],
    removed: BTreeSet<GatewayId>,
    answered: BTreeMap<GatewayId, BTreeSet<EventId>>,
    last: u64,
}

impl Model {
    fn gateway(&self, number: usize) -> GatewayId {
        format!("lab-{number}-{}", self.lives[number]).parse().unwrap()
    }

    fn answer(&mut self, gateway: GatewayId, event: EventId) {
        self.answered.entry(gateway).or_default().insert(event);
    }

    fn event(&mut self) -> (EventId, Vec<u8>) {
        self.last += 1;
        let event =
            Event { format: FORMAT, at: OffsetDateTime::UNIX_EPOCH, by: None, kind: published(1) };
        (EventId::after(None, self.last), to_bytes(&event).unwrap())
    }

    fn take(&mut self, store: &Store, step: &Step) {
        let now = OffsetDateTime::now_utc();
        let durable = |id: &GatewayId, name: ObjectName| {
            let path = store.disk.gateways.join(id).join(name.to_string());
            store.disk.content().durable_objects.insert(path);
        };
        match *step {
            Step::Append(number) => {
                let (id, (event, object)) = (self.gateway(number), self.event());
                let dir = store.disk.gateways.join(&id);
                fs::create_dir_all(&dir).unwrap();
                if !store.log.record(&id, event, &object) {
                    objects::write(&dir, ObjectName::Event(event), &object).unwrap();
                    durable(&id, ObjectName::Event(event));
                }
                self.answer(id, event);
            }
            Step::Unnamed(number) => {
                let (id, (event, object)) = (self.gateway(number), self.event());
                drop(store.log.commit(&id, event, &object));
            }
            Step::Command(number) => {
                let id = self.gateway(number);
                let event = store.plain().append(&id, published(1), now).unwrap();
                durable(&id, ObjectName::Event(event));
                self.answer(id, event);
            }
            Step::Condense(number) => {
                let id = self.gateway(number);
                if self.answered.contains_key(&id)
                    && let Some(pack) = store.plain().condense(&id, now).unwrap()
                {
                    durable(&id, pack);
                }
            }
            Step::Remove(number) => {
                let id = self.gateway(number);
                store.plain().remove(&id).unwrap();
                self.answered.remove(&id);
                self.removed.insert(id);
                self.lives[number] += 1;
            }
            Step::Tend => {
                let before = inodes(&store.disk.gateways);
                store.log.tend();
                for (path, inode) in inodes(&store.disk.gateways) {
                    // It was written again by the log itself.
                    if before.get(&path) != Some(&inode) {
                        store.disk.content().durable_objects.insert(path);
                    }
                }
            }
            Step::Fail(act) => drop(store.disk.content().fails.insert(act)),
        }
    }
}

/// The store after a power failure. `fates` says what is left of each unsynced object, and `cut`
/// how much is left of the log's writes since the last sync.
fn crash(store: &Store, fates: &[u8], cut: usize) -> TempDir {
    let after = directory();
    let gateways = after.path().join("gateways");
    // A running checkpoint stops here.
    let mut content = store.disk.content();
    for entry in fs::read_dir(&store.disk.gateways).unwrap() {
        fs::create_dir_all(gateways.join(entry.unwrap().file_name())).unwrap();
    }
    fs::create_dir_all(&gateways).unwrap();
    for ((path, bytes), fate) in
        all_objects(&store.disk.gateways).into_iter().zip(fates.iter().cycle())
    {
        let left = match fate % 4 {
            _ if content.durable_objects.contains(&path) => bytes.len(),
            0 => continue,
            1 => 0,
            2 => bytes.len() * usize::from(*fate) / 256,
            _ => bytes.len(),
        };
        let path = gateways.join(path.strip_prefix(&store.disk.gateways).unwrap());
        fs::write(path, &bytes[..left]).unwrap();
    }
    let mut left = cut;
    for (at, bytes) in std::mem::take(&mut content.pending) {
        let some = left.min(bytes.len());
        put(&mut content.durable, at, &bytes[..some]);
        left -= some;
    }
    fs::write(after.path().join(NAME), &content.durable).unwrap();
    after
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_power_failure_takes_no_event_that_was_answered_and_tears_none(
        steps in proptest::collection::vec(step(), 1..40),
        half in prop_oneof![Just(700), Just(2000), Just(100_000)],
        fates in proptest::collection::vec(any::<u8>(), 1..20),
        cut in 0..2000_usize,
    ) {
        let (store, mut model) = (Store::new(half, 0), Model::default());
        for step in &steps {
            model.take(&store, step);
        }
        let after = crash(&store, &fates, cut);
        // The server starts on the new disk.
        let log = Arc::new(CommitLog { half, ..CommitLog::new(after.path()) });
        log.tend();
        prop_assert!(!log.lock().is_unusable(), "{:?}", log.lock().trouble);
        let generations = Generations::in_store(after.path());
        for (id, answered) in &model.answered {
            let found: BTreeSet<_> = generations.events(id).unwrap().into_keys().collect();
            prop_assert!(found.is_superset(answered), "{id}: {answered:?} in {found:?}");
        }
        for id in generations.gateways().unwrap() {
            generations.events(&id).unwrap();
            prop_assert!(!model.removed.contains(&id), "{id} is back");
        }
        let bytes = fs::read(after.path().join(NAME)).unwrap();
        prop_assert_eq!(bytes.len(), 2 * half);
        prop_assert_eq!(bytes.chunks(half).flat_map(line::read).count(), 0);
    }
}
