//! Old files leave the shared store, and no others.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

use super::Host;
use super::directory;
use super::fake::Fake;
use super::settle;
use crate::garage::Garage;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Publishes a script and a file that only generations with this content have.
fn publish(host: &Host, content: u8) {
    let files =
        [("boot.ipxe", &b"#!ipxe\nboot\n"[..]), ("data", &[content; 100]), ("secrets", b"A=1\n")];
    let folder = host.test.folder("published", &files);
    host.test.ok(&["publish", "--force", "lab-1", folder.to_str().unwrap()]);
}

/// Name of the blob with this content.
fn blob(host: &Host, number: u64) -> String {
    let listed = host.test.json(&["generations", "lab-1", "--files", &number.to_string()]);
    let data = listed["files"].as_array().unwrap().iter().find(|file| file["path"] == "data");
    data.unwrap()["sha256"].as_str().unwrap().to_owned()
}

/// Drops all generations but the newest two: the one before the current one always stays.
fn drop_old(host: &Host) -> serde_json::Value {
    host.test.json(&["gc", "--keep", "1"])
}

/// A shared store, whose files can be made older.
struct Shared {
    host: Host,
    other: Host,
    age: Box<dyn Fn()>,
    has: Box<dyn Fn(&str) -> bool>,
    lose: Box<dyn Fn(&str)>,
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for tree in ["blobs", "private", "wanted"] {
        for entry in fs::read_dir(root.join(tree)).into_iter().flatten().flatten() {
            match fs::read_dir(entry.path()) {
                Ok(below) => found.extend(below.map(|file| file.unwrap().path())),
                Err(_) => found.push(entry.path()),
            }
        }
    }
    found
}

fn in_directory(root: &Path) -> Shared {
    let host = Host::first(&directory(root));
    let other = host.another();
    let (to_age, to_see, to_lose) = (root.to_owned(), root.to_owned(), root.to_owned());
    let age = move || {
        for path in files(&to_age) {
            let then = fs::metadata(&path).unwrap().modified().unwrap() - 4 * DAY;
            fs::File::options().append(true).open(path).unwrap().set_modified(then).unwrap();
        }
    };
    let has = move |name: &str| files(&to_see).iter().any(|path| path.ends_with(name));
    let lose = move |name: &str| {
        let found = files(&to_lose);
        fs::remove_file(found.iter().find(|path| path.ends_with(name)).unwrap()).unwrap();
    };
    Shared { host, other, age: Box::new(age), has: Box::new(has), lose: Box::new(lose) }
}

fn in_bucket() -> Shared {
    let bucket: &'static Fake = Box::leak(Box::new(Fake::keeping()));
    let host = Host::first(&bucket.store_config());
    let other = host.another();
    Shared {
        host,
        other,
        age: Box::new(|| bucket.age(4 * DAY)),
        has: Box::new(|name| bucket.keys().iter().any(|key| key.ends_with(name))),
        lose: Box::new(|name| bucket.lose(|key| key.ends_with(name))),
    }
}

async fn old_files_leave(shared: Shared) {
    let Shared { host, other, age, has, lose } = shared;
    (1..=3).for_each(|content| publish(&host, content));
    settle(&[&host, &other]).await;
    let blobs: Vec<_> = (1..=3).map(|number| blob(&host, number)).collect();
    // The first run drops a generation here. Its file in the store is too young.
    let done = drop_old(&host);
    assert_eq!((&done["store"]["blobs"], has(&blobs[0])), (&0.into(), true), "{done}");
    settle(&[&host, &other]).await;
    assert!(other.history().is_dropped(1) && !other.history().is_dropped(2));
    let line = other.test.fails(&["rollback", "lab-1", "1"]);
    assert!(line.contains("removed by `farmgate gc`"), "{line}");
    age();
    // Looking changes nothing.
    let shown = other.test.json(&["gc", "--dry-run"]);
    assert_eq!((&shown["store"]["blobs"], has(&blobs[0])), (&1.into(), true), "{shown}");
    let done = other.test.json(&["gc"]);
    assert_eq!((&done["store"]["blobs"], &done["store"]["bytes"]), (&1.into(), &100.into()));
    assert!(!has(&blobs[0]) && has(&blobs[1]) && has(&blobs[2]));

    // A host that comes later has all that it needs, and misses nothing.
    let third = host.another();
    settle(&[&host, &other, &third]).await;
    assert_eq!(third.pass().await.held_back, 0);
    assert_eq!(third.history().current().unwrap().number, 3);
    assert!(third.history().is_dropped(1));
    assert!(third.test.ok(&["get", "lab-1", "3", "data"]).len() == 100);
    assert!(!has(&format!("wanted/{}", blobs[0])) && !has(&blobs[0]));

    // What the store loses of a kept generation comes back.
    lose(&blobs[2]);
    assert_eq!(host.test.json(&["gc"])["store"]["restored"], 1);
    assert!(has(&blobs[2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn old_files_leave_a_directory() {
    let root = tempfile::tempdir().unwrap();
    old_files_leave(in_directory(root.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_files_leave_a_bucket() {
    old_files_leave(in_bucket()).await;
}

/// A publisher finds a file that is there, and nobody names it: whoever deletes old files could
/// delete it before the event arrives.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_file_is_sent_again_before_it_is_named() {
    let root = tempfile::tempdir().unwrap();
    for Shared { host, other, age, has, .. } in [in_directory(root.path()), in_bucket()] {
        (1..=3).for_each(|content| publish(&host, content));
        settle(&[&host, &other]).await;
        let first = blob(&host, 1);
        drop_old(&host);
        settle(&[&host, &other]).await;
        age();
        let before = SystemTime::now();
        // The content of the dropped generation once more.
        publish(&other, 1);
        settle(&[&other]).await;
        assert_eq!(blob(&other, 4), first);
        // The host that deletes has listed the file, and has not heard of the event: it must be
        // new by then. That is what the listing says.
        let would = host.test.json(&["gc", "--dry-run"]);
        assert_eq!(would["store"]["blobs"], 0, "{would}, since {before:?}");
        assert!(has(&first));
        drop_old(&host);
        assert!(has(&first));
        settle(&[&host, &other]).await;
        assert_eq!(host.test.ok(&["get", "lab-1", "4", "data"]).len(), 100);
    }
}

/// An event that nobody here can read may name any file.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_deleted_while_an_event_cannot_be_read() {
    let root = tempfile::tempdir().unwrap();
    let Shared { host, age, has, .. } = in_directory(root.path());
    (1..=3).for_each(|content| publish(&host, content));
    settle(&[&host]).await;
    drop_old(&host);
    settle(&[&host]).await;
    age();
    let first = blob(&host, 1);
    let newer = root
        .path()
        .join("gateways")
        .join(&host.id)
        .join("0192a8c0-0000-7000-8000-000000000001.json");
    fs::write(&newer, r#"{"format":99}"#).unwrap();
    let line = host.test.run(&["gc"]);
    let line = String::from_utf8_lossy(&line.stderr).into_owned();
    assert!(line.contains("nothing is deleted from the store") && has(&first), "{line}");
    fs::remove_file(&newer).unwrap();
    host.test.ok(&["gc"]);
    assert!(!has(&first));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_bucket_keeps_what_is_young() {
    let Some(garage) = Garage::with_store(1) else { return };
    let host = Host::first(&garage.store_config(0));
    (1..=3).for_each(|content| publish(&host, content));
    settle(&[&host]).await;
    let done = drop_old(&host);
    assert_eq!(done["dropped"].as_array().unwrap().len(), 1);
    assert_eq!((&done["store"]["blobs"], &done["store"]["restored"]), (&0.into(), &0.into()));
}
