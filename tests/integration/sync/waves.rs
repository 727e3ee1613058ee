//! A commit whose folder says waves: the server that brings it in watches each wave.

use serde_json::json;

use super::SCRIPT;
use super::SECRET;
use super::configure;
use super::push_hook;
use super::status_file;
use super::wait_until;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::kernel;
use crate::common::write_private;
use crate::git::Forge;
use crate::rollout::boot;
use crate::rollout::outcome;

const NAMES: [&str; 3] = ["lab-1", "lab-2", "lab-3"];

/// A fleet of one kind, in two waves: `lab-1` first.
fn fleet() -> Forge {
    let forge = Forge::new();
    forge.write("fleet.toml", b"[[waves]]\ngateways = [\"lab-1\"]\n");
    forge.write("profiles/debian/boot.ipxe", SCRIPT.as_bytes());
    forge.write("profiles/debian/vmlinuz", &kernel());
    for name in NAMES {
        forge.write(&format!("gateways/{name}.toml"), b"profile = \"debian\"\n");
    }
    forge
}

/// A boot host whose server has brought in the first commit, and all gateways acknowledged it.
fn host(forge: &Forge) -> (TestState, TestServer) {
    let state = TestState::quick();
    for name in &NAMES[1..] {
        state.ok(&["gateway", "add", name]);
    }
    let secret = state.dir().parent().unwrap().join("webhook");
    write_private(&secret, SECRET);
    configure(&state, &forge.remote(), &format!("interval = \"1d\"\nwebhook-secret = {secret:?}"));
    let server = TestServer::start(&state);
    server.wait_for_log("sync: in force");
    assert_eq!(boot(&server, &state, "lab-1", true), "1");
    wait_until("the second wave of the first commit", || numbers(&state) == [1, 1, 1]);
    for name in &NAMES[1..] {
        assert_eq!(boot(&server, &state, name, true), "1");
    }
    wait_until("it is closed", || outcome(&state) == "finished: every wave works");
    (state, server)
}

/// The generation that each gateway gets next; 0 for none.
fn numbers(state: &TestState) -> [u64; 3] {
    NAMES.map(|name| {
        let shown = state.json(&["generations", name]);
        shown["current"].as_u64().unwrap_or(0)
    })
}

#[test]
fn the_second_wave_follows_when_the_first_has_acknowledged() {
    let forge = fleet();
    forge.push("a fleet in waves");
    let (state, server) = host(&forge);

    forge.write("profiles/debian/boot.ipxe", SCRIPT.replace("30", "45").as_bytes());
    let second = forge.push("a longer wait");
    assert_eq!(push_hook(&state, &server, 1), 202);
    wait_until("the first wave", || numbers(&state) == [2, 1, 1]);
    // It is in force from here on, and what the waves still bring belongs to it.
    wait_until("the status", || status_file(&state)["good"]["commit"] == json!(second));
    let rollout = state.json(&["rollout", "show"]);
    assert_eq!(rollout["by"]["commit"], json!(second), "{rollout}");
    // Looking again changes nothing while it is under way.
    assert_eq!(push_hook(&state, &server, 2), 202);
    wait_until("another look", || status_file(&state)["result"] == "unchanged");
    assert_eq!(numbers(&state), [2, 1, 1]);
    assert_eq!(boot(&server, &state, "lab-2", true), "1");

    assert_eq!(boot(&server, &state, "lab-1", true), "2");
    wait_until("the second wave", || numbers(&state) == [2, 2, 2]);
    assert_eq!(outcome(&state), "under way");
    for name in &NAMES[1..] {
        assert_eq!(boot(&server, &state, name, true), "2");
    }
    wait_until("it is closed", || outcome(&state) == "finished: every wave works");
}

#[test]
fn a_first_wave_that_fails_stops_it_and_the_next_commit_mends_it() {
    let forge = fleet();
    forge.push("a fleet in waves");
    let (state, server) = host(&forge);

    forge.write("profiles/debian/boot.ipxe", SCRIPT.replace("30", "45").as_bytes());
    let bad = forge.push("boots, and never acknowledges");
    assert_eq!(push_hook(&state, &server, 1), 202);
    wait_until("the first wave", || numbers(&state) == [2, 1, 1]);
    for _ in 0..3 {
        assert_eq!(boot(&server, &state, "lab-1", false), "2");
    }
    assert_eq!(boot(&server, &state, "lab-1", false), "1");
    server.wait_for_log("stopped at gateway lab-1");
    assert_eq!(numbers(&state)[1..], [1, 1]);
    // The same commit is not tried again.
    assert_eq!(push_hook(&state, &server, 2), 202);
    wait_until("another look", || status_file(&state)["result"] == "unchanged");
    assert_eq!(status_file(&state)["commit"], json!(bad));
    assert_eq!(numbers(&state)[1..], [1, 1]);

    forge.write("profiles/debian/boot.ipxe", SCRIPT.replace("30", "50").as_bytes());
    forge.push("acknowledges");
    assert_eq!(push_hook(&state, &server, 3), 202);
    wait_until("the first wave of the next commit", || numbers(&state)[0] == 3);
    assert_eq!(numbers(&state)[1..], [1, 1]);
    assert_eq!(boot(&server, &state, "lab-1", true), "3");
    // Number 2 was theirs in the rollout that stopped.
    wait_until("the second wave", || numbers(&state)[1..] == [3, 3]);
    for name in &NAMES[1..] {
        let script = server.get_as(&state, name, "/files/boot.ipxe").text();
        assert!(script.contains("panic=50"), "{script}");
    }
}
