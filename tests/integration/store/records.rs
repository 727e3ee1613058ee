use std::fs;

use serde_json::Value;

use super::Host;
use super::directory;
use super::settle;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::nginx_headers;

fn shown(host: &Host, gateway: &str) -> Value {
    host.test.json(&["gateway", "show", gateway])
}

/// Names of all gateways of a host.
fn gateways(host: &Host) -> Vec<String> {
    let list = host.test.json(&["gateway", "list"]);
    let name = |gateway: &Value| gateway["gateway"].as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_one_host_adds_boots_from_another() {
    let remote = tempfile::tempdir().unwrap();
    let a = Host::first(&directory(remote.path()));
    let b = a.another();
    a.test.publish("lab-1", 1000);
    assert!(gateways(&b).is_empty());
    settle(&[&a, &b]).await;
    let (certificate, key) = a.test.credentials("lab-1");
    let headers = nginx_headers(&certificate);
    let server = TestServer::start(&b.test);
    assert_eq!(server.get_unix("/boot/ipxe", &headers).status, 302);
    assert_eq!(server.get_unix("/files/vmlinuz", &headers).body.len(), 1000);
    // Keys stay where they were made.
    let key = b.test.dir().join("gateways/lab-1").join(key.file_name().unwrap());
    assert!(!key.exists());
}

#[test]
fn a_revocation_reaches_other_hosts_within_the_interval() {
    let remote = tempfile::tempdir().unwrap();
    let store = format!("{}\ninterval = \"1s\"", directory(remote.path()));
    let a = Host::first(&store);
    let b = a.another();
    a.test.publish("lab-1", 1000);
    let headers = nginx_headers(&a.test.credentials("lab-1").0);
    let (_one, two) = (TestServer::start(&a.test), TestServer::start(&b.test));
    let asked = || two.get_unix("/boot/ipxe", &headers).status;
    wait_for("the gateway on the other host", || asked() == 302);
    a.test.ok(&["gateway", "revoke", "lab-1"]);
    wait_for("the revocation on the other host", || asked() == 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_hosts_change_at_once_is_laid_together() {
    let remote = tempfile::tempdir().unwrap();
    let a = Host::first(&directory(remote.path()));
    let b = a.another();
    settle(&[&a, &b]).await;
    let first = shown(&a, "lab-1")["certificates"][0]["fingerprint"].as_str().unwrap().to_owned();
    a.test.ok(&["gateway", "renew", "lab-1"]);
    b.test.ok(&["gateway", "set", "lab-1", "--assessment", "none"]);
    settle(&[&a, &b]).await;
    settle(&[&a, &b]).await;
    let (here, there) = (shown(&a, "lab-1"), shown(&b, "lab-1"));
    assert_eq!(here["assessment"], "none");
    assert_eq!(there["assessment"], "none");
    for shown in [&here, &there] {
        let certificates = shown["certificates"].as_array().unwrap();
        let states: Vec<_> = certificates.iter().map(|c| c["state"].as_str().unwrap()).collect();
        assert_eq!(states, ["retiring", "active"]);
    }
    // One revision says all, and hosts that find it write no other.
    let revisions = || fs::read_dir(remote.path().join("records").join(&a.id)).unwrap().count();
    assert_eq!(revisions(), 1);
    // Revoked stays revoked, also on the host that had it as retiring.
    a.test.ok(&["gateway", "revoke", "lab-1", "--fingerprint", &first]);
    b.test.ok(&["gateway", "set", "lab-1", "--assessment", "default"]);
    settle(&[&a, &b]).await;
    settle(&[&a, &b]).await;
    assert_eq!(shown(&b, "lab-1")["certificates"][0]["state"], "revoked");
    assert_eq!(shown(&a, "lab-1")["assessment"], "default");
    assert_eq!(revisions(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_gateway_is_gone_everywhere_and_stays_so() {
    let remote = tempfile::tempdir().unwrap();
    let a = Host::first(&directory(remote.path()));
    let b = a.another();
    a.test.publish("lab-1", 1000);
    settle(&[&a, &b]).await;
    a.test.ok(&["gateway", "remove", "lab-1"]);
    let (a, b) = (a.restarted(), b.restarted());
    settle(&[&a, &b]).await;
    assert!(gateways(&a).is_empty() && gateways(&b).is_empty());
    assert!(!a.events_dir().exists() && !b.events_dir().exists());
    let there = remote.path().join("gateways").join(&a.id);
    assert!(!there.exists() || fs::read_dir(there).unwrap().next().is_none());
    // One of the same name is another gateway.
    b.test.fails(&["gateway", "add", "lab-1"]);
    a.test.ok(&["gateway", "add", "lab-1"]);
    settle(&[&a, &b]).await;
    assert_eq!(gateways(&b), ["lab-1"]);
    let certificates = |host| shown(host, "lab-1")["certificates"][0]["fingerprint"].clone();
    assert_eq!(certificates(&a), certificates(&b));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_a_newer_program_is_left_alone() {
    let remote = tempfile::tempdir().unwrap();
    let a = Host::first(&directory(remote.path()));
    settle(&[&a]).await;
    let home = remote.path().join("records").join(&a.id);
    let newer = home.join("01f2a8c0-0000-7000-8000-000000000001.json");
    let damaged = home.join("01f2a8c0-0000-7000-8000-000000000002.json");
    fs::write(&newer, r#"{"format":2,"everything":"else"}"#).unwrap();
    fs::write(&damaged, r#"{"format":1"#).unwrap();
    let before = shown(&a, "lab-1");
    settle(&[&a]).await;
    a.test.ok(&["gateway", "set", "lab-1", "--assessment", "none"]);
    settle(&[&a]).await;
    assert!(newer.exists() && damaged.exists());
    assert_eq!(shown(&a, "lab-1")["certificates"], before["certificates"]);
}

/// Hosts that are not all of the same version used to take such a setting for a change, each
/// for itself, and write revisions for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_setting_that_this_program_does_not_know_is_kept() {
    let remote = tempfile::tempdir().unwrap();
    let a = Host::first(&directory(remote.path()));
    settle(&[&a]).await;
    let home = remote.path().join("records").join(&a.id);
    let revisions =
        || -> Vec<_> { fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().path()).collect() };
    let read = || -> Value {
        assert_eq!(revisions().len(), 1);
        serde_json::from_slice(&fs::read(&revisions()[0]).unwrap()).unwrap()
    };
    let mut newer = read();
    newer["settings"]["colour"] = "green".into();
    let name = "01f2a8c0-0000-7000-8000-000000000001";
    newer["settings-of"] = name.into();
    fs::write(home.join(format!("{name}.json")), newer.to_string()).unwrap();
    for _ in 0..3 {
        settle(&[&a]).await;
        assert_eq!(read(), newer);
    }
    a.test.ok(&["gateway", "set", "lab-1", "--assessment", "none"]);
    settle(&[&a]).await;
    let now = read();
    assert_eq!(
        (&now["settings"]["colour"], &now["settings"]["assessment"]),
        (&"green".into(), &"none".into())
    );
}

/// An emptied store, or the wrong one, takes no gateway away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_outlive_an_emptied_store() {
    let remote = tempfile::tempdir().unwrap();
    let a = Host::first(&directory(remote.path()));
    let b = a.another();
    settle(&[&a, &b]).await;
    fs::remove_dir_all(remote.path().join("records")).unwrap();
    let (a, b) = (a.restarted(), b.restarted());
    settle(&[&a, &b]).await;
    assert_eq!(gateways(&b), ["lab-1"]);
    let certificates = |host| shown(host, "lab-1")["certificates"][0]["fingerprint"].clone();
    assert_eq!(certificates(&a), certificates(&b));
    assert!(remote.path().join("records").join(&a.id).exists());
}

#[track_caller]
pub(crate) fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + crate::common::PATIENCE;
    while !there() {
        assert!(std::time::Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// A second host used to tell systems to read their secrets, and to acknowledge, at the first
/// one: which may be what is gone.
#[test]
fn a_new_host_names_itself_in_boot_scripts() {
    let remote = tempfile::tempdir().unwrap();
    let a = Host::first(&directory(remote.path()));
    let (other, url) = (tempfile::tempdir().unwrap(), "https://boot-2.example.org");
    let dir = other.path().join("state");
    let args = ["store", "new-host", dir.to_str().unwrap(), "--url", url];
    let error = a.test.fails(&args);
    assert!(error.contains("pki renew --san boot-2.example.org"), "{error}");
    assert!(!dir.exists());

    a.test.ok(&["pki", "renew", "--san", "boot-2.example.org"]);
    let said = a.test.ok(&args);
    assert!(said.contains("fallback-urls"), "{said}");
    let config = fs::read_to_string(dir.join("farmgate.toml")).unwrap();
    assert!(config.contains(&format!("\nurl = \"{url}\"\n")), "{config}");
    a.test.publish("lab-1", 10);

    let b = Host::open(TestState::at(other), Some(a.id.clone()));
    tokio::runtime::Runtime::new().unwrap().block_on(settle(&[&a, &b]));
    let server = TestServer::start(&b.test);
    let headers = nginx_headers(&a.test.credentials("lab-1").0);
    assert_eq!(server.get_unix("/boot/ipxe", &headers).status, 302);
    let script = server.get_unix("/g/1/boot.ipxe", &headers).text();
    assert!(script.contains(&format!("set ack_url {url}/boot/ack/")), "{script}");
}
