use std::fs;
use std::time::Duration;

use farmgate::fleet::Kind;

use super::Host;
use super::directory;
use super::fake::Answer;
use super::fake::Fake;
use super::settle;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_foreign_newer_or_damaged_is_left_alone() {
    let remote = tempfile::tempdir().unwrap();
    let a = Host::first(&directory(remote.path()));
    a.test.publish("lab-1", 1000);
    settle(&[&a]).await;
    let home = remote.path().join("gateways").join(&a.id);
    let event = |n: u8| format!("0192a8c0-0000-7000-8000-0000000000{n:02x}.json");
    for (path, text) in [
        (home.join("notes.txt"), "hello"),
        (remote.path().join("gateways/README"), "hello"),
        (home.join(event(1)), r#"{"format":99,"at":"2030-01-01T00:00:00Z","kind":"moved"}"#),
        (home.join(event(2)), "{\"format\":1,"),
        (home.join(event(3)), ""),
    ] {
        fs::write(path, text).unwrap();
    }
    let b = a.another();
    let report = b.pass().await;
    assert_eq!((report.pulled, report.left_out), (2, 3));
    let report = b.pass().await;
    assert_eq!((report.pulled, report.left_out), (0, 3));
    assert_eq!(a.history(), b.history());
    for n in 1..4 {
        assert!(home.join(event(n)).exists() && !b.events_dir().join(event(n)).exists());
    }
    assert!(home.join("notes.txt").exists());
}

/// Clocks that are minutes apart: names follow what a host knows, not its clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_differ_do_no_harm() {
    let remote = tempfile::tempdir().unwrap();
    let a = Host::first(&directory(remote.path()));
    let b = a.another();
    a.test.publish("lab-1", 1000);
    a.test.publish("lab-1", 2000);
    settle(&[&a, &b]).await;
    let (first, second) = {
        let history = a.history();
        let mut all = history.generations().map(|generation| generation.id);
        (all.next().unwrap(), all.next().unwrap())
    };
    let now = time::OffsetDateTime::now_utc();
    let late = now + time::Duration::minutes(10);
    // One whose clock is ten minutes ahead goes back; then one whose clock is right goes on.
    a.generations.append(&a.id, Kind::Activated { generation: first }, late).unwrap();
    settle(&[&a, &b]).await;
    assert_eq!(b.current(), first);
    let early = now - time::Duration::minutes(10);
    b.generations.append(&b.id, Kind::Activated { generation: second }, early).unwrap();
    settle(&[&a, &b]).await;
    assert_eq!((a.current(), b.current()), (second, second));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_that_is_not_what_its_name_says_is_never_kept() {
    let remote = tempfile::tempdir().unwrap();
    let a = Host::first(&directory(remote.path()));
    let kernel = a.test.publish("lab-1", 100_000);
    settle(&[&a]).await;
    let asset = a.history().current().unwrap().asset("vmlinuz").unwrap().clone();
    let blob = remote.path().join("blobs").join(asset.sha256.path());
    let mut damaged = kernel.clone();
    damaged[70_000] ^= 1;
    let shorter = kernel[..5000].to_vec();
    for bytes in [damaged, shorter] {
        fs::write(&blob, bytes).unwrap();
        let b = a.another();
        let report = b.pass().await;
        assert_eq!((report.pulled, report.held_back), (1, 1));
        assert!(!b.generations.blobs().path(&asset.sha256).exists());
        assert!(b.history().current().is_none());
        // It comes into sight once its files do; a restart forgets to wait.
        fs::write(&blob, &kernel).unwrap();
        let b = b.restarted();
        settle(&[&b]).await;
        assert_eq!(b.history(), a.history());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wrong_key_is_told_of_with_the_way_out() {
    let fake =
        Fake::start(|_| Answer::status(403, "<Error><Message>No such key</Message></Error>"));
    let a = Host::first(&fake.store_config());
    let error = format!("{:#}", a.replica.pass().await.unwrap_err());
    assert!(error.contains("No such key") && error.contains("[store] credentials"), "{error}");
    assert!(!error.contains(super::fake::SECRET), "{error}");
    let line = a.test.fails(&["store", "sync"]);
    assert!(line.contains("No such key"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_is_not_there_is_named() {
    let fake = Fake::start(|_| Answer::status(404, "<Message>Bucket not found: farm</Message>"));
    let a = Host::first(&fake.store_config());
    let error = a.replica.pass().await.unwrap_err().to_string();
    assert!(error.contains("Bucket not found: farm") && error.contains("[store] url"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_wants_rest_gets_it() {
    for (status, after) in [(503, "120"), (429, "Sat, 06 Nov 2094 08:49:37 GMT")] {
        let fake = Fake::start(move |_| Answer::status(status, "").header("Retry-After", after));
        let a = Host::first(&fake.store_config());
        let error = a.replica.pass().await.unwrap_err().to_string();
        assert!(error.contains("overloaded"), "{error}");
        let asked = fake.asked();
        assert_eq!(asked, 1, "it was asked again at once");
        a.replica.pass().await.unwrap_err();
        assert_eq!(fake.asked(), asked, "it was asked although it wants rest");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_broken_answers_have_an_end() {
    for answer in [
        Answer::Silence,
        Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<?xml"),
        Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<?xml").and_wait(),
        Answer::raw("HTTP/1.1 200 OK\r\n"),
        Answer::raw("who is there?\r\n"),
        Answer::status(200, "this is no XML"),
        Answer::status(500, "oh"),
    ] {
        let shown = format!("{answer:?}");
        let fake = Fake::start(move |_| answer.clone());
        let a = Host::first(&fake.store_config());
        let began = std::time::Instant::now();
        let error = a.replica.pass().await.unwrap_err();
        assert!(began.elapsed().as_secs() < 30, "{shown}: {error:#}");
    }
}

/// The sending of a file used to end after `timeout`, however well it went: over a slow line it
/// was begun again for ever. Here 6 MiB take four seconds, and `timeout` is two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_may_take_longer_than_an_answer() {
    let fake = Fake::start_slow(Duration::from_millis(42), |request| {
        if request.starts_with("HEAD ") { Answer::status(404, "") } else { Answer::well(request) }
    });
    let a = Host::first(&fake.store_config());
    a.test.publish("lab-1", 6 * 1024 * 1024);
    let report = a.replica.pass().await.unwrap();
    assert!(report.pushed > 0, "{report:?}");
    assert_eq!(fake.asked_for("PUT /farm/hosts/blobs/"), 2, "the script and the kernel, each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_not_there_is_no_reason_to_wait() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let a = Host::first(&super::fake::store_config(address));
    let error = a.replica.pass().await.unwrap_err().to_string();
    assert!(error.contains("cannot be reached"), "{error}");
}

/// A pack used to count at once, also when it made a generation current whose files were nowhere
/// to be had: a gateway that could have booted waited for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pack_waits_for_the_files_of_what_would_be_served() {
    let remote = tempfile::tempdir().unwrap();
    let a = Host::first(&directory(remote.path()));
    let (b, new) = (a.another(), a.another());
    a.test.publish("lab-1", 1000);
    settle(&[&a, &b]).await;
    let first = b.current();
    a.test.publish("lab-1", 2000);
    for _ in 0..100 {
        a.append(Kind::Booted { generation: a.current(), certificate: None });
    }
    settle(&[&a]).await;
    let asset = a.history().current().unwrap().asset("vmlinuz").unwrap().clone();
    let blob = remote.path().join("blobs").join(asset.sha256.path());
    let kernel = fs::read(&blob).unwrap();
    fs::remove_file(&blob).unwrap();

    let report = b.pass().await;
    assert_eq!((report.held_back, b.current()), (1, first));
    // Who has nothing else to boot from loses nothing by it.
    for object in fs::read_dir(remote.path().join("gateways").join(&a.id)).unwrap() {
        let path = object.unwrap().path();
        if !path.to_str().unwrap().contains("pack-") {
            fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(new.pass().await.held_back, 0);
    assert_eq!(new.history(), a.history());

    fs::write(&blob, kernel).unwrap();
    let b = b.restarted();
    settle(&[&b]).await;
    assert_eq!(b.history(), a.history());
    assert!(b.generations.blobs().path(&asset.sha256).exists());
}

/// One object with a name that the client cannot read used to end every listing: no host heard
/// of a revocation any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stray_object_stops_nothing() {
    let remote = tempfile::tempdir().unwrap();
    let a = Host::first(&directory(remote.path()));
    a.test.publish("lab-1", 1000);
    settle(&[&a]).await;
    let strays = [
        remote.path().join("gateways").join(&a.id).join("a\u{1b}[31mb.json"),
        remote.path().join("gateways/new\nline"),
        remote.path().join("records/\u{7f}"),
        remote.path().join("wanted/a\tb"),
    ];
    fs::create_dir_all(remote.path().join("wanted")).unwrap();
    for path in &strays {
        fs::write(path, "stray").unwrap();
    }
    let b = a.another();
    a.test.publish("lab-1", 2000);
    a.test.ok(&["gateway", "revoke", "lab-1"]);
    settle(&[&a, &b]).await;
    b.replica.tidy().await.unwrap();
    assert_eq!(a.history(), b.history());
    assert_eq!(b.test.json(&["gateway", "show", "lab-1"])["certificates"][0]["state"], "revoked");
    assert!(strays.iter().all(|path| path.exists()), "they are not ours");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stray_object_in_a_bucket_stops_nothing() {
    let fake = Fake::start(|request| {
        if !request.contains("list-type=") {
            return Answer::well(request);
        }
        let object = |key: &str| {
            format!(
                "<Contents><Key>hosts/{key}</Key><Size>1</Size>\
                 <LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            )
        };
        let keys = ["gateways//x.json", "gateways/a&#x1;b/x.json", "gateways/../x", "gateways/"];
        let objects: String = keys.iter().map(|key| object(key)).collect();
        Answer::status(200, &format!("<ListBucketResult>{objects}</ListBucketResult>"))
    });
    let a = Host::first(&fake.store_config());
    a.test.publish("lab-1", 1000);
    let report = a.replica.pass().await.unwrap();
    assert_eq!(report.pushed, 2, "{report:?}");
}

/// The same on a host's own disk, for an event: what the store has is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_rots_here_is_fetched_again() {
    let remote = tempfile::tempdir().unwrap();
    let a = Host::first(&directory(remote.path()));
    a.test.publish("lab-1", 1000);
    settle(&[&a]).await;
    let before = a.history();
    let event = fs::read_dir(a.events_dir()).unwrap().map(|entry| entry.unwrap().path());
    let event = event.into_iter().find(|path| path.extension().is_some_and(|e| e == "json"));
    fs::write(event.unwrap(), "{").unwrap();
    assert!(a.generations.history(&a.id).is_err());
    let a = a.restarted();
    settle(&[&a]).await;
    assert_eq!(a.history(), before);
}

/// A damaged object used to be the end of packing, in the store too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packing_in_the_store_goes_on_beside_what_is_damaged() {
    let remote = tempfile::tempdir().unwrap();
    let a = Host::first(&directory(remote.path()));
    a.test.publish("lab-1", 1000);
    let home = remote.path().join("gateways").join(&a.id);
    let stray = home.join("0192a8c0-0000-7000-8000-000000000001.json");
    for n in 0..80 {
        a.append(Kind::Booted { generation: a.current(), certificate: None });
        if n % 20 == 0 {
            settle(&[&a]).await;
            fs::write(&stray, "{").unwrap();
        }
    }
    settle(&[&a]).await;
    let objects = fs::read_dir(&home).unwrap().count();
    assert!(objects < 45, "{objects} objects");
    assert!(stray.exists());
    let b = a.another();
    settle(&[&b]).await;
    assert_eq!(a.history(), b.history());
}
