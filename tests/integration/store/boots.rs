//! Boots that run on one host while word comes of what others did.

use farmgate::fleet::EventId;
use farmgate::fleet::Kind;
use time::Duration;
use time::OffsetDateTime;

use super::Host;
use super::directory;
use super::real::ack_path;
use super::records::wait_for;
use super::settle;
use crate::common::TestServer;
use crate::common::nginx_headers;
use crate::common::setting_path;

/// Two hosts whose servers look at the store when they start, and not again.
fn hosts(remote: &tempfile::TempDir) -> (Host, Host) {
    let a = Host::first(&format!("{}\ninterval = \"1h\"", directory(remote.path())));
    let b = a.another();
    (a, b)
}

/// Publishes a generation with secrets, and `kernel` as its kernel.
fn publish(host: &Host, kernel: &[u8]) {
    let files =
        [("boot.ipxe", &b"#!ipxe\nboot\n"[..]), ("vmlinuz", kernel), ("secrets", b"OURS=1\n")];
    let folder = host.test.folder("published", &files);
    host.test.ok(&["publish", "lab-1", folder.to_str().unwrap()]);
}

/// Two hosts that publish before they hear of each other choose the same number. The later one's
/// generation gets another once they do: a boot that had begun went on with the other's files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_boot_stays_with_its_generation_when_that_gets_another_number() {
    let remote = tempfile::tempdir().unwrap();
    let (a, b) = hosts(&remote);
    settle(&[&a, &b]).await;
    let server = TestServer::start(&b.test);
    let headers = nginx_headers(&a.test.credentials("lab-1").0);
    let get = |path: &str| server.get_unix(path, &headers);
    let theirs = a.test.publish("lab-1", 1000);
    let ours = [7; 2000];
    publish(&b, &ours);
    assert_eq!(get("/boot/ipxe").header("location"), Some("/g/1/boot.ipxe"));
    let secrets = setting_path(&get("/g/1/boot.ipxe").text(), "secrets_url").unwrap();
    settle(&[&a, &b]).await;
    assert_eq!(b.history().current().unwrap().number, 2);

    assert_eq!(get("/g/1/vmlinuz").body, ours);
    let ack = ack_path(&get("/g/1/boot.ipxe"));
    assert_eq!(get(&ack).status, 200);
    assert_eq!(get(&secrets).text(), "OURS=1\n");
    assert!(b.history().boots().values().all(|boot| boot.generation == 2 && boot.acknowledged));

    // Once it runs, and for a boot that begins now, a number means what it does everywhere.
    assert_eq!(get("/g/1/vmlinuz").body, theirs);
    assert_eq!(get("/boot/ipxe").header("location"), Some("/g/2/boot.ipxe"));
    assert_eq!(get("/g/1/vmlinuz").body, theirs);
    assert_eq!(get("/g/2/vmlinuz").body, ours);
}

/// A boot of another host, whose clock is ahead, used to be taken for the one that runs here once
/// there was word of it: the system acknowledged that one, a key of its bucket counted as handed
/// out to that one, and files without a number came from that one's generation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_boot_is_not_taken_for_one_of_another_host_whose_clock_is_ahead() {
    let remote = tempfile::tempdir().unwrap();
    let (a, b) = hosts(&remote);
    publish(&a, &[1; 16]);
    let first = a.current();
    publish(&a, &[2; 16]);
    settle(&[&a, &b]).await;
    let server = TestServer::start(&b.test);
    let headers = nginx_headers(&a.test.credentials("lab-1").0);
    let get = |path: &str| server.get_unix(path, &headers);
    let begin = || {
        assert_eq!(get("/boot/ipxe").header("location"), Some("/g/2/boot.ipxe"));
        *b.history().boots().last_key_value().unwrap().0
    };
    let script = || get("/g/2/boot.ipxe");
    let acknowledge = || assert_eq!(get(&ack_path(&script())).status, 200);

    // It begins anew, and then somebody says that it worked before: this ends only what was.
    let before = begin();
    let late = ack_path(&script());
    let ours = begin();
    assert_eq!(get(&late).status, 200);
    let ahead = OffsetDateTime::now_utc() + Duration::minutes(10);
    let others = [a.current(), first].map(|generation| {
        a.generations.append(&a.id, Kind::Booted { generation, certificate: None }, ahead).unwrap()
    });
    settle(&[&a, &b]).await;
    assert!(b.history().boots().keys().eq(&[before, ours, others[0], others[1]]));

    assert_eq!(get("/files/vmlinuz").body, [2; 16]);
    let secrets = setting_path(&script().text(), "secrets_url").unwrap();
    assert_eq!(get(&secrets).text(), "OURS=1\n");
    acknowledge();
    let history = b.history();
    let acknowledged = history.boots().iter().filter(|(_, boot)| boot.acknowledged);
    let acknowledged: Vec<EventId> = acknowledged.map(|(boot, _)| *boot).collect();
    assert_eq!(acknowledged, [before, ours]);
    wait_for("what it came to, step by step", || {
        let shown = b.test.json(&["status", "lab-1"]);
        let boots = shown["boots"].as_array().unwrap();
        let stages = |id: EventId| {
            let boot = boots.iter().find(|boot| boot["boot"] == id.to_string()).unwrap();
            let stages = boot["stages"].as_array().unwrap().iter();
            stages.map(|entry| entry["stage"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert!(others.iter().all(|id| stages(*id).is_empty()), "{shown}");
        let ours = stages(ours);
        ["boot", "file", "secrets", "acknowledged"]
            .iter()
            .all(|want| ours.iter().any(|s| s == want))
    });

    // A boot that begins now is later than all that this host has heard of.
    let next = begin();
    assert!(next > others[1]);
    acknowledge();
    assert!(b.history().boots()[&next].acknowledged);
}
