//! Commands with one gateway or a few, each once, with its options in the way that each shows the
//! most.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::hold;
use super::run;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::edit;
use crate::reroot::stock_dir;

/// A state, and a folder to publish.
fn state() -> (TestState, String) {
    let state = TestState::quick();
    state.ok(&["gateway", "set", "lab-1", "--group", "g", "--label", "my-site=b"]);
    let files = [("boot.ipxe", &b"#!ipxe\nboot\n"[..]), ("secrets", b"A=$gateway_name\n")];
    let folder = state.folder("f", &files).to_str().unwrap().to_owned();
    (state, folder)
}

/// Runs a command whatever its status, for its document.
fn document(state: &TestState, args: &[&str]) -> Value {
    let output = state.run(&[&["--json"], args].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"))
}

#[test]
fn gateways_and_their_certificates() {
    let (state, _) = state();
    let home = state.dir().with_file_name("home");
    let other = TestState::at(tempfile::tempdir().unwrap());
    run(&other, "init", &["init", "--url", "https://b.example.org", "--key-type", "p256"]);
    run(&state, "gateway add", &["gateway", "add", "lab-2"]);
    run(&state, "gateway renew", &["gateway", "renew", "lab-1"]);
    run(&state, "gateway rename", &["gateway", "rename", "lab-2", "lab-3"]);
    run(&state, "gateway list", &["gateway", "list"]);
    run(&state, "gateway show", &["gateway", "show", "lab-1"]);
    run(&state, "gateway set", &["gateway", "set", "@g", "--label", "a=b"]);
    run(&state, "gateway revoke", &["gateway", "revoke", "lab-3"]);
    run(&state, "gateway remove", &["gateway", "remove", "lab-3"]);
    run(&state, "pki renew", &["pki", "renew"]);
    run(&state, "log", &["log"]);
    hold("doctor", &[document(&state, &["doctor"])]);
    let shared = state.folder("shared", &[("x", b"")]);
    fs::remove_file(shared.join("x")).unwrap();
    let url = format!("\n[store]\nurl = \"file://{}\"\n", shared.display());
    edit(&state.dir().join("farmgate.toml"), |text| text + &url);
    run(&state, "store sync", &["store", "sync"]);
    run(&state, "store new-host", &["store", "new-host", home.to_str().unwrap()]);
}

#[test]
fn what_was_published_and_what_came_of_it() {
    let (state, folder) = state();
    let broken = state.folder("broken", &[("boot.ipxe", b"#!ipxe\nfrobnicate ||\nboot\n")]);
    hold("check", &[document(&state, &["check", broken.to_str().unwrap()])]);
    run(&state, "check --explain", &["check", "--explain", "FG010"]);
    let publish = |value: &str| {
        run(&state, "publish", &["publish", "lab-1", "--force", "--set", value, &folder]);
    };
    publish("a=1");
    fs::write(format!("{folder}/boot.ipxe"), "#!ipxe\necho ${a}\nboot\n").unwrap();
    publish("a=2");
    hold("publish", &[document(&state, &["publish", "@g", "nobody", &folder])]);
    run(&state, "generations", &["generations", "lab-1"]);
    run(&state, "generations --files", &["generations", "lab-1", "--files", "1"]);
    run(&state, "diff", &["diff", "lab-1", "1", "2"]);
    let out = state.dir().with_file_name("out");
    run(&state, "get", &["get", "lab-1", "2", "-o", out.to_str().unwrap()]);
    run(&state, "rollback", &["rollback", "lab-1", "1"]);
    run(&state, "pin", &["pin", "lab-1"]);
    run(&state, "rollback", &["rollback", "lab-1", "2"]);
    run(&state, "release", &["release", "lab-1"]);
    let mut server = TestServer::start(&state);
    assert_eq!(server.get(&state, "/boot/ipxe").status, 302);
    // The server writes its journal before it ends.
    server.terminate();
    server.wait();
    run(&state, "status", &["status"]);
    run(&state, "status NAME", &["status", "lab-1"]);
    for value in ["a=3", "a=4", "a=5"] {
        publish(value);
    }
    let would = run(&state, "gc", &["gc", "--keep", "1", "--dry-run"]);
    assert_ne!(would["dropped"], serde_json::json!([]));
    let log = run(&state, "log", &["log"]);
    assert!(log.as_array().unwrap().iter().any(|line| line["live"] == true), "{log}");
}

#[test]
fn rollouts() {
    let (state, folder) = state();
    state.ok(&["gateway", "add", "lab-2"]);
    state.ok(&["publish", "lab-1", "--set", "a=1", &folder]);
    let publish = ["publish", "--canary", "lab-1", "--then", "all", "--set", "a=2", &folder];
    let begun = run(&state, "publish --canary", &publish);
    let list = run(&state, "rollout list", &["rollout", "list"]);
    assert_eq!(list[0]["waves"][0][0]["generation"], 2);
    let show = run(&state, "rollout show", &["rollout", "show"]);
    let stopped = run(&state, "rollout stop", &["rollout", "stop"]);
    let resumed = run(&state, "rollout resume", &["rollout", "resume"]);
    let reverted = run(&state, "rollout stop", &["rollout", "stop", "--revert"]);
    assert!(reverted["back"].is_object(), "{reverted}");
    // One name in all of them, and for a release also what it was called before.
    for (document, before) in
        [(&list[0], "id"), (&show, "id"), (&stopped, "stopped"), (&resumed, "resumed")]
    {
        assert_eq!(document["rollout"], begun["rollout"], "{document}");
        assert_eq!(document[before], begun["rollout"], "{document}");
    }
    run(&state, "rollout list", &["rollout", "list"]);
}

#[test]
fn images() {
    let mut state = TestState::with_gateway();
    let beside = |name: &str| state.dir().with_file_name(name).to_str().unwrap().to_owned();
    let (base, sealed, made) = (beside("base.iso"), beside("sealed.iso"), beside("made.iso"));
    let bin = state.folder("bin", &[("qemu-system-x86_64", b"#!/bin/sh\necho farmgate: asking\n")]);
    state.env.push(("FARMGATE_IPXE".into(), stock_dir().into()));
    run(&state, "iso base", &["iso", "base", "-o", &base]);
    run(&state, "iso seal", &["iso", "seal", &base, "--gateway", "lab-1", "-o", &sealed]);
    run(&state, "iso make", &["iso", "make", "lab-1", "-o", &made]);
    let verify = |image: &str| state.json(&["iso", "verify", image]);
    hold("iso verify", &[verify(&sealed), verify(&base)]);
    // A machine that says something and is off: what it prints of a real one is the chain tests'.
    let machine = bin.join("qemu-system-x86_64");
    fs::set_permissions(&machine, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    state.env.push(("PATH".into(), path.into()));
    let tried = document(&state, &["try", "lab-1", "--firmware", "bios"]);
    assert_eq!(tried["stages"][0]["stage"], "asking");
    hold("try", &[tried]);
}

#[test]
fn the_state_and_its_buckets() {
    let (state, folder) = state();
    state.ok(&["publish", "lab-1", "--set", "a=1", &folder]);
    state.ok(&["publish", "lab-1", "--set", "a=2", &folder]);
    state.ok(&["rollback", "lab-1"]);
    state.ok(&["pin", "lab-1"]);
    let exported = run(&state, "state export", &["state", "export"]);
    assert_eq!(exported["gateways"]["lab-1"]["newest"]["generation"], 2);
    let backup = state.dir().with_file_name("backup");
    let backup = backup.to_str().unwrap();
    run(&state, "state backup", &["state", "backup", backup]);
    let other = TestState::at(tempfile::tempdir().unwrap());
    run(&other, "state restore", &["state", "restore", backup]);
    let (config, admin) = (other.dir().join("farmgate.toml"), other.dir().join("admin.sock"));
    edit(&config, |text| text.replace("[listen]", &format!("[listen]\nadmin = {admin:?}")));
    let moved = other.dir().with_file_name("moved");
    run(&other, "state move", &["state", "move", moved.to_str().unwrap()]);
    let copy = state.dir().with_file_name("copy");
    let (from, to) = (state.dir().join("store"), copy.to_str().unwrap());
    run(&state, "store copy", &["store", "copy", from.to_str().unwrap(), to]);
    let buckets = "[buckets]\nprovider = \"b2\"\ncredentials = \"/nowhere\"\n";
    edit(&state.dir().join("farmgate.toml"), |text| format!("{text}\n{buckets}"));
    run(&state, "bucket rotate", &["bucket", "rotate", "lab-1"]);
    run(&state, "bucket adopt", &["bucket", "adopt", "lab-1", "farm-lab-1"]);
    run(&state, "bucket list", &["bucket", "list"]);
}
