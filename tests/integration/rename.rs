//! Gateways with another name.

use std::fs;

use crate::common::TestServer;
use crate::common::TestState;
use crate::common::request;

/// The name is nothing that a medium or a boot depends on: the certificate is, whatever its CN.
#[test]
fn a_renamed_gateway_goes_on_as_before() {
    let state = TestState::quick();
    state.publish("lab-1", 100);
    state.ok(&["gateway", "set", "lab-1", "--group", "debian"]);
    let server = TestServer::start(&state);
    let kept = tempfile::tempdir().unwrap();
    let (certificate, key) = state.credentials("lab-1");
    let medium = [certificate, key].map(|from| {
        let to = kept.path().join(from.file_name().unwrap());
        fs::copy(from, &to).unwrap();
        to
    });
    let ask = |path: &str| {
        let stream = server.tls(&state, Some((medium[0].clone(), medium[1].clone())));
        request(stream, "GET", path, "").unwrap()
    };
    assert_eq!(ask("/boot/ipxe").status, 302);
    let begun = crate::common::setting_path(&ask("/g/1/boot.ipxe").text(), "ack_url").unwrap();
    let before = state.json(&["gateway", "show", "lab-1"]);

    state.ok(&["gateway", "rename", "lab-1", "rack-7"]);
    let after = state.json(&["gateway", "show", "rack-7"]);
    for key in ["added", "generation", "group", "certificates"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    // A boot that was under way is acknowledged, and the next one comes.
    assert_eq!(server.get_unix(&begun, "").status, 200);
    assert_eq!(state.json(&["status", "rack-7"])["acknowledged"], true);
    assert_eq!(ask("/boot/ipxe").status, 302);
    let script = ask("/g/1/boot.ipxe").text();
    assert_eq!(crate::common::setting(&script, "gateway_name").unwrap(), "rack-7");
    state.publish("rack-7", 200);
    assert!(ask("/boot/ipxe").header("location").unwrap().starts_with("/g/2/"));

    // The old name says what it is called now, and is free for another gateway.
    let error = state.fails(&["rollback", "lab-1"]);
    assert!(error.contains("it is called rack-7 now"), "{error}");
    state.ok(&["gateway", "add", "lab-1"]);
    assert_eq!(server.get_as(&state, "lab-1", "/boot/ipxe").status, 404);
    for (new, why) in [("lab-1", "already is a gateway lab-1"), ("rack-7", "has that name already")]
    {
        assert!(state.fails(&["gateway", "rename", "rack-7", new]).contains(why));
    }
    // Again, and back; then revocation still finds the medium.
    state.ok(&["gateway", "rename", "rack-7", "rack-8"]);
    assert_eq!(ask("/boot/ipxe").status, 302);
    state.ok(&["gateway", "remove", "lab-1"]);
    state.ok(&["gateway", "rename", "rack-8", "lab-1"]);
    assert_eq!(ask("/boot/ipxe").status, 302);
    state.ok(&["gateway", "revoke", "lab-1"]);
    assert_eq!(ask("/boot/ipxe").status, 403);
    let left: Vec<_> = fs::read_dir(state.dir().join("gateways"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(left.iter().all(|name| !name.to_str().unwrap().starts_with(".removed")), "{left:?}");
}

/// As after a crash in the middle: both names lead to one gateway.
#[test]
fn an_interrupted_rename_is_finished_by_the_next() {
    let state = TestState::quick();
    state.publish("lab-1", 10);
    let gateways = state.dir().join("gateways");
    let record = fs::read(gateways.join("lab-1/gateway.json")).unwrap();
    let credentials = state.credentials("lab-1");
    state.ok(&["gateway", "rename", "lab-1", "rack-7"]);
    fs::create_dir(gateways.join("lab-1")).unwrap();
    fs::write(gateways.join("lab-1/gateway.json"), record).unwrap();
    state.ok(&["gateway", "rename", "lab-1", "rack-7"]);
    let names: Vec<_> = state
        .json(&["gateway", "list"])
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["gateway"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["rack-7"]);
    assert!(!credentials.0.exists() && state.credentials("rack-7").1.exists());
    let server = TestServer::start(&state);
    assert_eq!(server.get_as(&state, "rack-7", "/boot/ipxe").status, 302);
}

#[test]
fn a_new_name_reaches_the_other_boot_host_with_its_keys_left_alone() {
    let state = TestState::quick();
    let store = state.dir().join("../shared");
    fs::create_dir(&store).unwrap();
    let url = format!("[store]\nurl = \"file://{}\"\n", store.canonicalize().unwrap().display());
    crate::common::edit(&state.dir().join("farmgate.toml"), |text| format!("{text}\n{url}"));
    state.publish("lab-1", 10);
    state.ok(&["store", "sync"]);
    let other = state.new_host();
    other.ok(&["store", "sync"]);
    other.ok(&["gateway", "rename", "lab-1", "rack-7"]);
    other.ok(&["store", "sync"]);
    let (_, key) = state.credentials("lab-1");
    state.ok(&["store", "sync"]);
    let (_, moved) = state.credentials("rack-7");
    assert!(!key.exists() && moved.exists());
    assert!(state.fails(&["status", "lab-1"]).contains("called rack-7 now"));
    let server = TestServer::start(&state);
    assert_eq!(server.get_as(&state, "rack-7", "/boot/ipxe").status, 302);
    // Both settle on it: another pass changes nothing.
    other.ok(&["store", "sync"]);
    let synced = state.json(&["store", "sync"]);
    assert_eq!(synced["records"], 0, "{synced}");
    state.publish("rack-7", 20);
    state.ok(&["store", "sync"]);
    other.ok(&["store", "sync"]);
    assert_eq!(other.json(&["generations", "rack-7"])["current"], 2);
}
