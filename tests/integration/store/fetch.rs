use std::fs;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::RwLock;
use std::time::Duration;

use farmgate::replica::Fetch;
use farmgate::store::blobs::Access;
use rustix::process::Resource;
use rustix::process::getrlimit;
use rustix::process::setrlimit;

use super::Host;
use super::fake::Answer;
use super::fake::Fake;
use crate::common::PATIENCE;
use crate::common::TestServer;
use crate::common::edit;
use crate::common::nginx_headers;
use crate::common::receive;
use crate::common::send;

/// A host that knows of a generation whose kernel only the (fake) store has.
fn host_without_kernel(
    answer: impl Fn(&str, &[u8]) -> Answer + Send + Sync + 'static,
) -> (Host, Fake, farmgate::fleet::Asset, Vec<u8>) {
    let kernel: Vec<u8> = (0..300_000).map(|i| (i / 7 % 251) as u8).collect();
    let bytes = kernel.clone();
    let fake = Fake::start(move |request| answer(request, &bytes));
    let host = Host::first(&fake.store_config());
    assert_eq!(host.test.publish("lab-1", 300_000), kernel);
    let asset = host.history().current().unwrap().asset("vmlinuz").unwrap().clone();
    fs::remove_file(host.generations.blobs().path(&asset.sha256)).unwrap();
    (host, fake, asset, kernel)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_at_once_cost_one_fetch() {
    let (host, fake, asset, kernel) = host_without_kernel(|_, kernel| {
        std::thread::sleep(Duration::from_millis(300));
        Answer::object(kernel)
    });
    let asset = Arc::new(asset);
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let (replica, asset) = (host.replica.clone(), asset.clone());
        asking.spawn(async move {
            replica.fetch(&asset, Access::Public, Duration::from_secs(30)).await
        });
    }
    for fetch in asking.join_all().await {
        assert_eq!(fetch, Fetch::Here);
    }
    assert_eq!(fake.asked(), 1);
    assert_eq!(fs::read(host.generations.blobs().path(&asset.sha256)).unwrap(), kernel);
}

/// The same through the door that nginx uses, while the server sees to the store as always.
#[test]
fn five_hundred_requests_at_once_cost_one_fetch() {
    allow_open_files(2048);
    let gate = Arc::new(RwLock::new(()));
    let closed = gate.write().unwrap();
    let store = gate.clone();
    let (host, fake, asset, kernel) = host_without_kernel(move |request, kernel| {
        if request.starts_with("GET /farm/hosts/") {
            drop(store.read());
            return Answer::object(kernel);
        }
        if request.starts_with("HEAD ") {
            return Answer::facts(kernel.len());
        }
        Answer::well(request)
    });
    // That all have asked before the store answers may take a slow machine a while.
    edit(&host.test.dir().join("farmgate.toml"), |text| {
        text.replace("timeout = \"2s\"", "timeout = \"30s\"")
    });
    let headers = nginx_headers(&host.test.credentials("lab-1").0);
    let server = TestServer::start(&host.test);
    assert_eq!(server.get_unix("/boot/ipxe", &headers).status, 302);
    let ask = |_| {
        let stream = UnixStream::connect(&server.unix).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        send(&stream, "GET", "/g/1/vmlinuz", &headers).unwrap();
        stream
    };
    let asking: Vec<_> = (0..500).map(ask).collect();
    std::thread::sleep(Duration::from_millis(300));
    drop(closed);
    let mut told_to_wait = 0;
    for stream in asking {
        let mut reply = receive(stream).unwrap();
        // So many of one gateway at once are told to come again, as iPXE does.
        while reply.status == 503 {
            assert!(reply.header("retry-after").is_some(), "{}", reply.text());
            told_to_wait += 1;
            assert!(told_to_wait < 5000, "the others never get it");
            reply = receive(ask(0)).unwrap();
        }
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(reply.body == kernel, "{} bytes, and not the kernel's", reply.body.len());
    }
    let blob = format!("GET /farm/hosts/blobs/{}", asset.sha256.path());
    assert_eq!(fake.asked_for(&blob), 1);
    // The store was otherwise well, and asked for nothing else that is large.
    assert_eq!(fake.asked_for("GET /farm/hosts/"), 1);
    assert!(fake.asked_for("GET /farm?list-type=") > 0 && !server.log_so_far().contains("away"));
}

/// Every connection is two of them.
fn allow_open_files(wanted: u64) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.current.map(|now| now.max(wanted));
    if let Some(most) = limit.maximum {
        limit.current = limit.current.map(|now| now.min(most));
    }
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_bytes_are_not_asked_for_again_at_once() {
    let (host, fake, asset, _) = host_without_kernel(|_, kernel| {
        let mut damaged = kernel.to_vec();
        damaged[0] ^= 1;
        Answer::object(&damaged)
    });
    for _ in 0..50 {
        let fetch = host.replica.fetch(&asset, Access::Public, Duration::from_secs(30)).await;
        assert!(matches!(fetch, Fetch::Failed(_)), "{fetch:?}");
    }
    assert_eq!(fake.asked(), 1);
    assert!(!host.generations.blobs().path(&asset.sha256).exists());
    tokio::time::sleep(Duration::from_millis(2100)).await;
    host.replica.fetch(&asset, Access::Public, Duration::from_secs(30)).await;
    assert_eq!(fake.asked(), 2);
}

/// What the disk lost is fetched again, and never served short.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_that_is_too_short_here_is_fetched_again() {
    let (host, _fake, asset, kernel) = host_without_kernel(|_, kernel| Answer::object(kernel));
    let path = host.generations.blobs().path(&asset.sha256);
    fs::write(&path, &kernel[..1000]).unwrap();
    let fetch = host.replica.fetch(&asset, Access::Public, Duration::from_secs(30)).await;
    assert_eq!(fetch, Fetch::Here);
    assert_eq!(fs::read(&path).unwrap(), kernel);
}

/// A request waits for what comes soon, and is told when to ask again for what does not.
#[test]
fn a_gateway_is_told_to_wait_for_a_file_that_is_not_here() {
    let (host, _fake, _, kernel) = host_without_kernel(|_, kernel| {
        std::thread::sleep(Duration::from_millis(500));
        Answer::object(kernel)
    });
    let server = TestServer::start(&host.test);
    assert_eq!(server.get(&host.test, "/boot/ipxe").status, 302);
    assert_eq!(server.get(&host.test, "/files/vmlinuz").body, kernel);

    let (host, _fake, _, _) = host_without_kernel(|_, _| Answer::status(500, "oh"));
    let server = TestServer::start(&host.test);
    assert_eq!(server.get(&host.test, "/boot/ipxe").status, 302);
    assert_eq!(server.get(&host.test, "/files/boot.ipxe").status, 200);
    let reply = server.get(&host.test, "/files/vmlinuz");
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("5")));
}

/// What the store has lost or has wrong, and another host still has, comes back by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_gives_again_what_another_cannot_get() {
    let remote = tempfile::tempdir().unwrap();
    let a = Host::first(&super::directory(remote.path()));
    let kernel = a.test.publish("lab-1", 100_000);
    super::settle(&[&a]).await;
    let asset = a.history().current().unwrap().asset("vmlinuz").unwrap().clone();
    let blob = remote.path().join("blobs").join(asset.sha256.path());
    let wanted = remote.path().join("wanted").join(asset.sha256.to_string());
    let limit = Duration::from_secs(30);
    for damage in [Some(vec![1; 100_000]), Some(vec![2; 10]), None] {
        match damage {
            Some(bytes) => fs::write(&blob, bytes).unwrap(),
            None => fs::remove_file(&blob).unwrap(),
        }
        let b = a.another();
        let fetch = b.replica.fetch(&asset, Access::Public, limit).await;
        assert!(matches!(fetch, Fetch::Failed(_)), "{fetch:?}");
        let deadline = std::time::Instant::now() + limit;
        while !wanted.exists() {
            assert!(std::time::Instant::now() < deadline, "nobody was told");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Who has it no more cannot help.
        assert_eq!(b.replica.give_wanted().await.unwrap(), 0);
        a.replica.tidy().await.unwrap();
        assert_eq!(fs::read(&blob).unwrap(), kernel);
        assert!(!wanted.exists());
        let fetch = b.restarted().replica.fetch(&asset, Access::Public, limit).await;
        assert_eq!(fetch, Fetch::Here);
    }
}

/// Secrets have a prefix of their own in the store; hosts of an older version kept them among the
/// others, and ask for them there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_have_a_prefix_of_their_own_and_are_found_where_they_were() {
    let remote = tempfile::tempdir().unwrap();
    let a = Host::first(&super::directory(remote.path()));
    let files = [("boot.ipxe", &b"#!ipxe\nboot\n"[..]), ("secrets", b"TOKEN=1\n")];
    let folder = a.test.folder("with-secrets", &files);
    a.test.ok(&["publish", "lab-1", folder.to_str().unwrap()]);
    super::settle(&[&a]).await;
    let id = a.history().current().unwrap().files()["secrets"].sha256;
    let [public, private] =
        ["blobs", "private"].map(|tree| remote.path().join(tree).join(id.path()));
    assert!(private.exists() && !public.exists());

    // As an older version left it.
    fs::create_dir_all(public.parent().unwrap()).unwrap();
    fs::rename(&private, &public).unwrap();
    let b = a.another();
    super::settle(&[&b]).await;
    let kept = b.generations.blobs_of(Access::Private).path(&id);
    assert_eq!(fs::read(&kept).unwrap(), b"TOKEN=1\n");
    assert!(kept.starts_with(b.test.dir().join("store/private")));
    assert!(!b.generations.blobs().path(&id).exists());

    // As an older version asks for it, and a new one.
    fs::remove_file(&public).unwrap();
    fs::create_dir_all(remote.path().join("wanted")).unwrap();
    for (word, place) in [(format!("{id}"), &public), (format!("private-{id}"), &private)] {
        fs::write(remote.path().join("wanted").join(&word), "").unwrap();
        assert_eq!(a.replica.give_wanted().await.unwrap(), 1, "{word}");
        assert_eq!(fs::read(place).unwrap(), b"TOKEN=1\n");
    }
}
