//! What a pass costs: requests to the store, and files of this host that are opened.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use farmgate::fleet::EventId;
use farmgate::fleet::Kind;
use farmgate::fleet::ObjectName;
use farmgate::replica;
use rustix::fd::OwnedFd;
use rustix::fs::inotify;
use rustix::fs::inotify::ReadFlags;
use rustix::fs::inotify::WatchFlags;

use super::Host;
use super::fake::Answer;
use super::fake::Fake;
use super::settle;
use crate::common::PATIENCE;

/// Counts how often a folder and the objects in it are opened.
struct Opened(OwnedFd);

impl Opened {
    fn watch(folder: &Path) -> Self {
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        // The kernel counts equal events in a row as one: of a file that is opened twice, the second
        // time is told of because it was closed before.
        let flags = WatchFlags::OPEN | WatchFlags::CLOSE_NOWRITE | WatchFlags::CLOSE_WRITE;
        inotify::add_watch(&watch, folder, flags).unwrap();
        Self(watch)
    }

    /// How often the folder was listed since the last call, and which objects were opened.
    fn take(&self) -> (usize, Vec<String>) {
        let (mut listings, mut objects) = (0, Vec::new());
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        while let Ok(event) = reader.next() {
            if !event.events().contains(ReadFlags::OPEN) {
                continue;
            }
            let name = event.file_name().map(|name| CString::from(name).into_string().unwrap());
            if event.events().contains(ReadFlags::ISDIR) {
                listings += 1;
            } else {
                objects.extend(name.filter(|name| ObjectName::parse(name).is_some()));
            }
        }
        objects.sort();
        (listings, objects)
    }
}

/// A host that has delivered a generation to a bucket, and what is opened of its events and records.
async fn settled(bucket: &Fake) -> (Host, Opened, Opened) {
    let host = Host::first(&bucket.store_config());
    host.test.publish("lab-1", 1000);
    settle(&[&host]).await;
    let events = Opened::watch(&host.events_dir());
    let records = Opened::watch(&host.test.dir().join("store/records").join(&host.id));
    bucket.take_requests();
    (host, events, records)
}

/// The requests without the version of HTTP; listings by their prefix.
fn requests(bucket: &Fake) -> Vec<String> {
    let short = |line: String| {
        let line = line.trim_end_matches(" HTTP/1.1").replace("%2F", "/");
        line.replace("GET /farm?list-type=2&prefix=hosts/", "LIST ").replace("/farm/hosts/", "")
    };
    bucket.take_requests().into_iter().map(short).collect()
}

fn event(host: &Host, id: EventId) -> String {
    format!("gateways/{}/{id}.json", host.id)
}

fn boot(host: &Host) -> EventId {
    host.append(Kind::Booted { generation: host.current(), certificate: None })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_pass_lists_the_store_and_this_host_once_and_reads_nothing() {
    let bucket = Fake::keeping();
    let (host, events, records) = settled(&bucket).await;
    for _ in 0..2 {
        host.pass().await;
        assert_eq!(requests(&bucket), ["LIST records/", "LIST gateways/"]);
        assert_eq!(events.take(), (1, vec![]));
        assert_eq!(records.take(), (1, vec![]));
    }
    // A change of the record is noticed, all the same.
    host.test.ok(&["gateway", "set", "lab-1", "--assessment", "none"]);
    host.pass().await;
    let asked = requests(&bucket);
    assert_eq!(
        asked.iter().filter(|line| line.starts_with("PUT records/")).count(),
        1,
        "{asked:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_event_costs_one_request_and_is_read_once() {
    let bucket = Fake::keeping();
    let (host, events, _) = settled(&bucket).await;
    let id = boot(&host);
    events.take();
    host.pass().await;
    let put = format!("PUT {}", event(&host, id));
    assert_eq!(requests(&bucket), ["LIST records/", "LIST gateways/", &put]);
    assert_eq!(events.take(), (1, vec![format!("{id}.json")]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_host_wrote_is_fetched_once_and_no_object_is_read_twice() {
    let bucket = Fake::keeping();
    let (host, events, _) = settled(&bucket).await;
    let other = host.another();
    other.pass().await;
    let first = boot(&other);
    let second = other.append(Kind::Acknowledged { boot: first });
    other.pass().await;
    requests(&bucket);
    host.pass().await;
    let get = |id| format!("GET {}", event(&host, id));
    assert_eq!(requests(&bucket), ["LIST records/", "LIST gateways/", &get(first), &get(second)]);
    // What has just come is not read from the disk.
    let (_, opened) = events.take();
    let mut once = opened.clone();
    once.dedup();
    assert_eq!(opened, once);
    assert!(!opened.contains(&format!("{first}.json")), "{opened:?}");
    assert_eq!(host.history(), other.history());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pack_of_this_hosts_own_is_not_fetched_and_what_is_in_it_goes_with_one_request() {
    let bucket = Fake::keeping();
    let (host, _, _) = settled(&bucket).await;
    for _ in 0..50 {
        boot(&host);
    }
    host.pass().await;
    requests(&bucket);
    host.pass().await;
    let asked = requests(&bucket);
    let [_, _, put, delete] = &asked[..] else { panic!("{asked:?}") };
    assert!(put.starts_with(&format!("PUT gateways/{}/pack-", host.id)), "{put}");
    assert!(delete.starts_with("POST ") && delete.ends_with("delete"), "{delete}");
    host.pass().await;
    assert_eq!(requests(&bucket), ["LIST records/", "LIST gateways/"]);
    // Another host finds all of it in the pack.
    let other = host.another();
    settle(&[&other]).await;
    assert_eq!(other.history(), host.history());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_waits_for_its_files_is_fetched_once() {
    let closed = Arc::new(AtomicBool::new(true));
    let gate = closed.clone();
    let bucket = Fake::keeping_unless(move |request| {
        let blob = request.starts_with("GET /farm/hosts/blobs/");
        (blob && gate.load(Ordering::SeqCst)).then(|| Answer::status(500, "oh"))
    });
    let (host, _, _) = settled(&bucket).await;
    let other = host.another();
    assert_eq!(other.pass().await.held_back, 1);
    requests(&bucket);
    assert_eq!(other.pass().await.held_back, 1);
    assert!(!requests(&bucket).iter().any(|line| line.starts_with("GET gateways/")));
    closed.store(false, Ordering::SeqCst);
    wait(|| other.replica.counts().failed_fetches > 0).await;
    // It is not asked for again at once.
    let deadline = std::time::Instant::now() + PATIENCE;
    while other.pass().await.held_back > 0 {
        assert!(std::time::Instant::now() < deadline, "its files do not come");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!requests(&bucket).iter().any(|line| line.starts_with("GET gateways/")));
    assert_eq!(other.history(), host.history());
}

async fn wait(there: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !there() {
        assert!(std::time::Instant::now() < deadline, "it does not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// [`replica::run`] as a server runs it; stopped when it is dropped.
struct Running(tokio::task::JoinHandle<()>);

impl Running {
    async fn start(host: &Host) -> Self {
        let running = Self(tokio::spawn(replica::run(host.replica.clone())));
        wait(|| host.replica.counts().last_pass.is_some()).await;
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_wakes_the_replica_which_delivers_without_a_listing() {
    let bucket = Fake::keeping();
    let config = bucket.store_config().replace("interval = \"1s\"", "interval = \"1h\"");
    let host = Host::first(&config);
    host.test.publish("lab-1", 1000);
    let _running = Running::start(&host).await;
    requests(&bucket);
    let first = boot(&host);
    host.replica.wake(&host.id);
    let acknowledged = host.append(Kind::Acknowledged { boot: first });
    host.replica.wake(&host.id);
    wait(|| bucket.asked_for(&format!("PUT /farm/hosts/{}", event(&host, acknowledged))) > 0).await;
    let put = |id| format!("PUT {}", event(&host, id));
    assert_eq!(requests(&bucket), [put(first), put(acknowledged)]);
    wait(|| host.replica.undelivered().unwrap() == Some(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_fails_is_made_good_by_a_pass() {
    let away = Arc::new(AtomicBool::new(false));
    let refuse = away.clone();
    let bucket = Fake::keeping_unless(move |_| {
        refuse.load(Ordering::SeqCst).then(|| Answer::status(501, "oh"))
    });
    let host = Host::first(&bucket.store_config().replace("\"1s\"", "\"2s\""));
    host.test.publish("lab-1", 1000);
    let _running = Running::start(&host).await;
    away.store(true, Ordering::SeqCst);
    let id = boot(&host);
    host.replica.wake(&host.id);
    wait(|| host.replica.status().contains("store away")).await;
    assert_eq!(host.replica.counts().in_step, Some(false));
    away.store(false, Ordering::SeqCst);
    wait(|| host.replica.undelivered().unwrap() == Some(0)).await;
    wait(|| host.replica.status() == "store in sync").await;
    assert!(bucket.asked_for(&format!("PUT /farm/hosts/{}", event(&host, id))) >= 1);
}
