//! The same at a stand-in for Backblaze B2.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use sha1::Digest;
use sha1::Sha1;

use super::boot;
use super::listed;
use super::publish;
use crate::common::TestServer;
use crate::common::TestState;
use crate::json;
use crate::object_stores::B2;
use crate::object_stores::Rclone;

#[test]
fn on_b2_a_key_can_do_what_it_must_and_nothing_else() {
    let Some(b2) = B2::start() else { return };
    let state = TestState::quick();
    b2.configure(&state, "");
    state.ok(&["bucket", "sync"]);
    json::run(&state, "bucket sync", &["bucket", "sync"]);
    let row = listed(&state, "lab-1").unwrap();
    let buckets = b2.ask("b2_list_buckets", json!({}))["buckets"].clone();
    assert_eq!(buckets.as_array().unwrap().len(), 1, "{buckets}");
    assert_eq!(
        (&buckets[0]["bucketName"], &buckets[0]["bucketType"]),
        (&row["bucket"], &json!("allPrivate"))
    );
    let keys = b2.ask("b2_list_keys", json!({}))["keys"].clone();
    assert_eq!(keys.as_array().unwrap().len(), 1, "{keys}");
    assert_eq!(keys[0]["bucketId"], buckets[0]["bucketId"]);
    let mut can: Vec<_> =
        keys[0]["capabilities"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
    can.sort_unstable();
    assert_eq!(can, ["deleteFiles", "listBuckets", "listFiles", "readFiles", "writeFiles"]);

    // As a boot gets it.
    publish(&state, "lab-1");
    let server = TestServer::start(&state);
    let bucket = boot(&server, &state, "lab-1").unwrap();
    assert_eq!(bucket.endpoint, format!("{}/s3", b2.url()));
    let key = (bucket.id, bucket.key);
    let id = &buckets[0]["bucketId"];
    assert_eq!(b2.ask_as(&key, "b2_get_upload_url", json!({"bucketId": id})).0, 200);
    let other = b2.ask(
        "b2_create_bucket",
        json!({"bucketName": "somebody-elses", "bucketType": "allPrivate"}),
    );
    let other = json!({"bucketId": other["bucketId"]});
    assert_eq!(b2.ask_as(&key, "b2_get_upload_url", other).0, 401);
    assert_eq!(b2.ask_as(&key, "b2_list_keys", json!({})).0, 401);
    if let Some(rclone) = Rclone::find() {
        let url = b2.url();
        let options = [("type", "b2"), ("endpoint", &*url), ("account", &*key.0), ("key", &*key.1)];
        let list = |bucket: &str| rclone.run(&options, &["lsf", &format!("it:{bucket}")]);
        let own = list(&bucket.name);
        assert!(own.status.success(), "{}", String::from_utf8_lossy(&own.stderr));
        assert!(!list("somebody-elses").status.success());
    }

    // Somebody deleted the key: it is replaced, and the bucket stays.
    b2.ask("b2_delete_key", json!({"applicationKeyId": key.0}));
    state.ok(&["bucket", "sync"]);
    assert_ne!(listed(&state, "lab-1").unwrap()["key"], json!(key.0));
    state.ok(&["gateway", "remove", "lab-1"]);
    state.ok(&["bucket", "sync"]);
    assert_eq!(b2.ask("b2_list_keys", json!({}))["keys"], json!([]));
}

#[test]
fn buckets_of_valve_infra_are_taken_over_and_strangers_are_not() {
    let Some(b2) = B2::start() else { return };
    let state = TestState::quick();
    b2.configure(&state, "valve-infra-server-name = \"farm\"");
    let make = |name: &str| {
        b2.ask("b2_create_bucket", json!({"bucketName": name, "bucketType": "allPrivate"}))
    };
    let (certificate, _) = state.credentials("lab-1");
    let pem = pem::parse(fs::read(certificate).unwrap()).unwrap();
    let theirs = format!("ipxe-farm-{}", hex::encode(Sha1::digest(pem.contents())));
    make(&theirs[..50]);
    state.ok(&["bucket", "sync"]);
    let row = listed(&state, "lab-1").unwrap();
    assert_eq!((&row["bucket"], &row["state"]), (&json!(&theirs[..50]), &json!("ready")));

    // A bucket that has the name, and that nobody made for this gateway.
    state.ok(&["gateway", "add", "lab-2"]);
    let record = fs::read(state.dir().join("gateways/lab-2/gateway.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    let wanted = format!("farmgate-{}", record["id"].as_str().unwrap());
    make(&wanted);
    let error = state.fails(&["-q", "bucket", "sync"]);
    let way_out = format!("farmgate bucket adopt lab-2 {wanted}");
    assert!(error.contains("not made for this gateway") && error.contains(&way_out), "{error}");
    assert_eq!(listed(&state, "lab-1").unwrap()["state"], "ready", "one spoils it for all");
    state.ok(&["bucket", "adopt", "lab-2", &wanted]);
    state.ok(&["bucket", "sync"]);
    assert_eq!(listed(&state, "lab-2").unwrap()["bucket"], json!(wanted));

    // Another bucket for a gateway that has one: a key of its own, too.
    make("data-from-before");
    let before = listed(&state, "lab-2").unwrap()["key"].clone();
    state.ok(&["bucket", "adopt", "lab-2", "data-from-before"]);
    state.ok(&["bucket", "sync"]);
    let row = listed(&state, "lab-2").unwrap();
    assert_eq!(row["bucket"], "data-from-before");
    assert_ne!(row["key"], before);
    let error = state.fails(&["bucket", "adopt", "lab-2", &theirs[..50]]);
    assert!(error.contains("is that of gateway lab-1"), "{error}");
    assert!(
        state.fails(&["bucket", "adopt", "lab-2", "a b/c"]).contains("not a name for a bucket")
    );

    // Nobody knows what a gateway has whose record cannot be read, whatever it was called before.
    state.ok(&["gateway", "rename", "lab-1", "rack-1"]);
    let path = state.dir().join("gateways/rack-1/gateway.json");
    let record = fs::read(&path).unwrap();
    fs::write(&path, "{").unwrap();
    let theirs_still = ["bucket", "adopt", "lab-2", &theirs[..50]];
    let error = state.fails(&theirs_still);
    assert!(error.contains("may be that of gateway rack-1, whose record"), "{error}");
    let output = state.run(&["--json", "bucket", "list"]);
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    let row = rows.as_array().unwrap().iter().find(|row| row["gateway"] == "rack-1");
    assert_eq!(row.unwrap()["state"], "ready", "{rows}");
    state.ok(&["bucket", "adopt", "lab-2", "data-from-before"]);
    fs::write(&path, record).unwrap();
    assert!(state.fails(&theirs_still).contains("is that of gateway rack-1"));
    state.ok(&["bucket", "adopt", "lab-2", "not-there"]);
    let error = state.fails(&["-q", "bucket", "sync", "lab-2"]);
    assert!(error.contains("no bucket not-there"), "{error}");
}

#[test]
fn a_group_stands_for_its_gateways_buckets() {
    let Some(b2) = B2::start() else { return };
    let state = TestState::quick();
    b2.configure(&state, "");
    for name in ["rack-1", "rack-2"] {
        state.ok(&["gateway", "add", name, "--group", "rack"]);
    }
    let ready = || {
        let rows = state.json(&["bucket", "list"]);
        let ready = rows.as_array().unwrap().iter().filter(|row| row["state"] == "ready");
        ready.map(|row| row["gateway"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    state.ok(&["bucket", "sync", "@rack"]);
    assert_eq!(ready(), ["rack-1", "rack-2"]);
    state.ok(&["bucket", "sync", "lab-1", "rack-1"]);
    assert_eq!(ready(), ["lab-1", "rack-1", "rack-2"]);
    let keys = || {
        let all = ["lab-1", "rack-1", "rack-2"];
        all.map(|name| listed(&state, name).unwrap()["key"].as_str().unwrap().to_owned())
    };
    let before = keys();
    let wished = state.json(&["bucket", "rotate", "@rack", "--now"]);
    assert_eq!(
        (&wished[0]["gateway"], &wished[1]["gateway"]),
        (&"rack-1".into(), &"rack-2".into())
    );
    state.ok(&["bucket", "sync"]);
    let after = keys();
    assert_eq!(before[0], after[0]);
    assert!(before[1] != after[1] && before[2] != after[2], "{before:?} {after:?}");
    assert!(
        state.fails(&["bucket", "sync", "@windows"]).contains("no gateway is in group windows")
    );
    assert!(state.fails(&["bucket", "sync", "nobody"]).contains("there is no gateway nobody"));
}

#[test]
fn wrong_and_expired_credentials_are_told_apart_from_no_answer() {
    let Some(b2) = B2::start() else { return };
    let state = TestState::quick();
    b2.configure_as(&state, "0051", "unmistakable", "");
    let error = state.fails(&["-q", "bucket", "sync"]);
    assert!(
        error.contains("refuses the credentials") && !error.contains("unmistakable"),
        "{error}"
    );
    let all = ["listBuckets", "writeBuckets", "listKeys", "writeKeys", "deleteKeys"];
    let key = b2.ask(
        "b2_create_key",
        json!({"keyName": "short", "capabilities": all, "validDurationInSeconds": 1}),
    );
    let text = |name: &str| key[name].as_str().unwrap().to_owned();
    std::thread::sleep(Duration::from_millis(1100));
    b2.configure_as(&state, &text("applicationKeyId"), &text("applicationKey"), "");
    let error = state.fails(&["-q", "bucket", "sync"]);
    assert!(error.contains("refuses the credentials"), "{error}");
    // Just the rights that the documentation asks for.
    let more = ["listAllBucketNames", "listFiles", "readFiles", "writeFiles", "deleteFiles"];
    let all = [&all[..], &more].concat();
    let key = b2.ask("b2_create_key", json!({"keyName": "farmgate", "capabilities": all}));
    let text = |name: &str| key[name].as_str().unwrap().to_owned();
    b2.configure_as(&state, &text("applicationKeyId"), &text("applicationKey"), "");
    state.ok(&["bucket", "sync"]);
}
