//! Buckets of gateways, at Garage or without a provider.

mod b2;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;

use crate::common::BIN;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::setting;
use crate::common::setting_path;
use crate::garage::Garage;
use crate::object_stores::Rclone;

/// Longest wait for a server that is a debug build, and shares its machine with other tests;
/// only ever reached by a test that fails.
const PATIENCE: Duration = Duration::from_secs(240);

/// What a boot script says of the bucket.
#[derive(Clone, Debug, PartialEq)]
struct Bucket {
    endpoint: String,
    id: String,
    key: String,
    name: String,
    ack: String,
}

/// Boots a gateway as iPXE does.
#[track_caller]
fn boot(server: &TestServer, state: &TestState, gateway: &str) -> Option<Bucket> {
    let reply = server.get_as(state, gateway, "/boot/ipxe");
    assert_eq!(reply.status, 302, "{reply:?}");
    let script = server.get_as(state, gateway, reply.header("location").unwrap());
    assert_eq!(script.status, 200, "{script:?}");
    let script = script.text();
    let value = |name: &str| setting(&script, name);
    Some(Bucket {
        endpoint: value("s3_endpoint")?,
        id: value("s3_access_key_id").unwrap(),
        key: value("s3_access_key").unwrap(),
        name: value("s3_bucket_name").unwrap(),
        ack: setting_path(&script, "ack_url").unwrap(),
    })
}

/// One line of `bucket list`.
fn listed(state: &TestState, gateway: &str) -> Option<Value> {
    let rows = state.json(&["bucket", "list"]);
    rows.as_array().unwrap().iter().find(|row| row["gateway"] == gateway).cloned()
}

#[track_caller]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[track_caller]
fn wait_for_state(state: &TestState, gateway: &str, expected: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let row = listed(state, gateway);
        if row.as_ref().is_some_and(|row| row["state"] == expected) {
            return;
        }
        assert!(Instant::now() < deadline, "{gateway} is never {expected}, but {row:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn publish(state: &TestState, gateway: &str) {
    let secrets = &b"KEY=${s3_access_key}\nREGION=$s3_region\nX=${unknown}\n"[..];
    let folder =
        state.folder("published", &[("boot.ipxe", b"#!ipxe\nboot\n"), ("secrets", secrets)]);
    state.ok(&["publish", gateway, folder.to_str().unwrap()]);
}

/// A client with the key of a boot, on a bucket.
fn client(rclone: &Rclone, bucket: &Bucket, args: &[&str]) -> Result<String, String> {
    let options = [
        ("type", "s3"),
        ("provider", "Other"),
        ("region", "garage"),
        ("endpoint", &*bucket.endpoint),
        ("access_key_id", &*bucket.id),
        ("secret_access_key", &*bucket.key),
        ("no_check_bucket", "true"),
    ];
    let output = rclone.run(&options, args);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[test]
fn a_gateways_key_opens_its_own_bucket_and_no_other() {
    let (Some(garage), Some(rclone)) = (Garage::start(1), Rclone::find()) else { return };
    let state = TestState::quick();
    garage.configure(&state, "quota = \"1MiB\"");
    for gateway in ["lab-1", "lab-2"] {
        if gateway == "lab-2" {
            state.ok(&["gateway", "add", gateway]);
        }
        publish(&state, gateway);
    }
    // Nothing is asked of anybody: the server finds out by itself.
    let server = TestServer::start(&state);
    wait_for_state(&state, "lab-1", "ready");
    wait_for_state(&state, "lab-2", "ready");
    let (one, two) =
        (boot(&server, &state, "lab-1").unwrap(), boot(&server, &state, "lab-2").unwrap());
    assert!(one.name.starts_with("farmgate-lab-1-") && one.name != two.name, "{one:?}");

    let file = state.folder("data", &[("small", b"hello"), ("large", &vec![1; 2 << 20])]);
    let (small, large) = (file.join("small"), file.join("large"));
    let own = |name: &str| format!("it:{}/{name}", one.name);
    client(&rclone, &one, &["copyto", small.to_str().unwrap(), &own("a")]).unwrap();
    assert_eq!(client(&rclone, &one, &["cat", &own("a")]).unwrap(), "hello");
    assert!(client(&rclone, &one, &["lsf", &own("")]).unwrap().contains('a'));
    client(&rclone, &one, &["deletefile", &own("a")]).unwrap();
    assert_eq!(client(&rclone, &one, &["lsf", &own("")]).unwrap(), "");
    let refused = client(&rclone, &one, &["copyto", large.to_str().unwrap(), &own("b")]);
    assert!(refused.unwrap_err().contains("AccessDenied"), "the quota is not in force");

    let other = format!("it:{}", two.name);
    for args in [&["lsf", &*other][..], &["copyto", small.to_str().unwrap(), &format!("{other}/a")]]
    {
        let refused = client(&rclone, &one, args).unwrap_err();
        assert!(refused.contains("403") || refused.contains("AccessDenied"), "{args:?}: {refused}");
    }
    let key = garage.ask(&format!("GetKeyInfo?id={}", one.id), None);
    assert_eq!(key["permissions"], json!({"createBucket": false}));
    let info = garage.ask(&format!("GetBucketInfo?globalAlias={}", one.name), None);
    let allowed = &info["keys"][0]["permissions"];
    assert_eq!(allowed, &json!({"read": true, "write": true, "owner": false}));

    // The secrets template knows the same.
    let script = server.get(&state, "/files/boot.ipxe").text();
    let path = setting_path(&script, "secrets_url").unwrap();
    let secrets = server.get_unix(&path, "").text();
    assert_eq!(secrets, format!("KEY={}\nREGION=garage\nX=${{unknown}}\n", one.key));

    // Who may read it on this machine, and who hears of it.
    let dir = state.dir().join("buckets");
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    let mut files = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        files += 1;
    }
    assert!(files >= 2);
    let shown = state.ok(&["--json", "bucket", "list"]) + &state.ok(&["bucket", "list"]);
    assert!(!shown.contains(&one.key) && shown.contains(&one.name));
}

#[test]
fn the_old_key_goes_once_a_boot_with_the_new_one_is_acknowledged() {
    let (Some(garage), Some(rclone)) = (Garage::start(1), Rclone::find()) else { return };
    let state = TestState::quick();
    garage.configure(&state, "");
    publish(&state, "lab-1");
    let server = TestServer::start(&state);
    wait_for_state(&state, "lab-1", "ready");
    let old = boot(&server, &state, "lab-1").unwrap();
    let works =
        |bucket: &Bucket| client(&rclone, bucket, &["lsf", &format!("it:{}", bucket.name)]).is_ok();
    assert!(works(&old));

    state.ok(&["bucket", "rotate", "lab-1"]);
    wait_until("a second key", || garage.keys().len() == 2);
    wait_for_state(&state, "lab-1", "rotating");
    // What runs already says that it works: that says nothing of the new key.
    assert_eq!(server.get_unix(&old.ack, "").status, 200);
    state.ok(&["bucket", "sync"]);
    assert!(works(&old));
    let new = boot(&server, &state, "lab-1").unwrap();
    assert_ne!(new.id, old.id);
    state.ok(&["bucket", "sync"]);
    assert!(works(&old) && works(&new), "not acknowledged yet");
    assert_eq!(server.get_unix(&new.ack, "").status, 200);
    wait_for_state(&state, "lab-1", "ready");
    assert!(!works(&old) && works(&new));

    // A key that got into wrong hands goes at once.
    state.ok(&["bucket", "rotate", "lab-1", "--now"]);
    state.ok(&["bucket", "sync"]);
    assert!(!works(&new));
    let newest = boot(&server, &state, "lab-1").unwrap();
    assert!(works(&newest));

    // The gateway is removed: so are its keys, and never its data.
    let data = state.folder("data", &[("file", b"precious")]);
    let to = format!("it:{}/file", newest.name);
    let from = data.join("file");
    client(&rclone, &newest, &["copyto", from.to_str().unwrap(), &to]).unwrap();
    state.ok(&["gateway", "remove", "lab-1"]);
    wait_for_state(&state, "lab-1", "left");
    assert!(!works(&newest));
    assert_eq!(garage.keys(), Vec::<String>::new());
    let info = garage.ask(&format!("GetBucketInfo?globalAlias={}", newest.name), None);
    assert_eq!(info["objects"], 1);
}

#[test]
fn boots_go_on_while_the_provider_is_gone_and_say_so() {
    let Some(mut garage) = Garage::start(1) else { return };
    let state = TestState::quick();
    garage.configure(&state, "");
    publish(&state, "lab-1");
    let server = TestServer::start(&state);
    wait_for_state(&state, "lab-1", "ready");
    let before = boot(&server, &state, "lab-1").unwrap();
    assert_eq!(state.admin("/readyz").text(), "ready\n");

    garage.kill(0);
    state.ok(&["gateway", "add", "lab-2"]);
    publish(&state, "lab-2");
    state.ok(&["bucket", "rotate", "lab-1"]);
    wait_for_state(&state, "lab-2", "failed");
    wait_for_state(&state, "lab-1", "stale");
    let began = Instant::now();
    let after = boot(&server, &state, "lab-1").unwrap();
    assert_eq!((after.id, after.key), (before.id, before.key));
    assert_eq!(boot(&server, &state, "lab-2"), None);
    assert!(began.elapsed() < Duration::from_secs(30), "boots waited for the provider");
    let reply = state.admin("/readyz");
    assert_eq!(reply.status, 200);
    assert!(reply.text().contains("warning: the bucket of lab-2 is failed"), "{reply:?}");
    assert!(state.ok(&["status"]).contains("cannot be reached"));
    let error = state.fails(&["-q", "bucket", "sync"]);
    assert!(error.contains("cannot be reached"), "{error}");

    garage.resume(0);
    state.ok(&["bucket", "sync"]);
    assert_eq!(listed(&state, "lab-2").unwrap()["state"], "ready");
    assert!(boot(&server, &state, "lab-2").is_some());
    assert_eq!(state.admin("/readyz").text(), "ready\n");
}

#[test]
fn killed_at_any_moment_it_leaves_one_key() {
    let Some(garage) = Garage::start(1) else { return };
    let state = TestState::quick();
    garage.configure(&state, "");
    state.ok(&["bucket", "sync"]);
    state.ok(&["bucket", "rotate", "lab-1", "--now"]);
    let began = Instant::now();
    state.ok(&["bucket", "sync"]);
    let whole = began.elapsed();
    const ROUNDS: u32 = 8;
    for round in 0..ROUNDS {
        state.ok(&["bucket", "rotate", "lab-1", "--now"]);
        let mut child = Command::new(BIN);
        child.arg("--state").arg(state.dir()).args(["-q", "bucket", "sync"]);
        let mut child = child.stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole * round / ROUNDS);
        let _ = child.kill();
        let _ = child.wait();
    }
    // Garage may still be making a key for one of those that were killed.
    let began = Instant::now();
    let row = loop {
        state.ok(&["bucket", "sync"]);
        let row = listed(&state, "lab-1").unwrap();
        if row["state"] == "ready" && row["older_keys"] == 0 && garage.keys().len() == 1 {
            break row;
        }
        assert!(began.elapsed() < PATIENCE, "{row} {:?}", garage.keys());
        std::thread::sleep(Duration::from_secs(1));
    };
    let keys = garage.ask("ListKeys", None);
    assert_eq!(keys[0]["id"], row["key"]);
}

#[test]
fn without_a_provider_there_is_nothing_to_rotate() {
    let state = TestState::quick();
    for args in [&["bucket", "rotate", "lab-1"][..], &["bucket", "sync"]] {
        assert!(state.fails(args).contains("buckets.provider"));
    }
    assert!(state.ok(&["bucket", "list"]).contains("docs/buckets.md"));
    state.set_listen("[buckets]\nprovider = \"b2\"\nquota = \"1GB\"");
    assert!(state.fails_at_length(&["bucket", "list"]).contains("buckets.quota"));
    state.set_listen("[buckets]\nprovider = \"b2\"");
    let error = state.fails(&["-q", "bucket", "sync"]);
    assert!(error.contains("buckets.credentials"), "{error}");
}
