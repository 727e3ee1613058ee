use std::os::unix::net::UnixStream;
use std::time::Instant;

use crate::common::PATIENCE;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::request;
use crate::common::setting_path;

fn fleet() -> TestState {
    let state = TestState::new();
    for name in ["a", "b", "c"] {
        state.ok(&["gateway", "add", name]);
        state.publish(name, 10);
    }
    state
}

fn roll_out(state: &TestState, args: &[&str]) -> Vec<String> {
    let folder = state.folder("next", &[("boot.ipxe", b"#!ipxe\nboot\n"), ("vmlinuz", b"new")]);
    let args = [&["publish"][..], args, &[folder.to_str().unwrap()]].concat();
    args.into_iter().map(str::to_owned).collect()
}

fn begin(state: &TestState, args: &[&str]) {
    let args = roll_out(state, args);
    state.ok(&args.iter().map(String::as_str).collect::<Vec<_>>());
}

/// Boots a gateway, which says that it works or not, and returns its generation.
fn boot(server: &TestServer, state: &TestState, gateway: &str, works: bool) -> String {
    let location =
        server.get_as(state, gateway, "/boot/ipxe").header("location").unwrap().to_owned();
    if works {
        let script = server.get_as(state, gateway, &location).text();
        let path = setting_path(&script, "ack_url").unwrap();
        let stream = UnixStream::connect(&server.unix).unwrap();
        assert_eq!(request(stream, "POST", &path, "").unwrap().status, 200);
    }
    location.split('/').nth(2).unwrap().to_owned()
}

/// What a gateway would get, without a boot.
fn current(state: &TestState, gateway: &str) -> u64 {
    state.json(&["generations", gateway])["current"].as_u64().unwrap()
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn the_others_follow_when_the_canaries_work() {
    let state = fleet();
    let server = TestServer::start(&state);
    begin(&state, &["--canary", "a,b", "--then", "all"]);
    assert_eq!(["a", "b", "c"].map(|name| current(&state, name)), [2, 2, 1]);
    assert!(state.ok(&["rollout", "list"]).contains("under way"));
    assert_eq!(boot(&server, &state, "a", true), "2");
    assert_eq!(boot(&server, &state, "c", true), "1");
    assert_eq!(current(&state, "c"), 1);
    assert_eq!(boot(&server, &state, "b", true), "2");
    wait_until("the last wave goes live", || current(&state, "c") == 2);
    wait_until("it is closed", || state.ok(&["rollout", "list"]).contains("every wave went live"));
}

#[test]
fn nobody_follows_canaries_that_do_not_work() {
    let state = fleet();
    let server = TestServer::start(&state);
    for name in ["a", "b", "c"] {
        boot(&server, &state, name, true);
    }
    begin(&state, &["--canary", "a", "--then", "b", "--then", "all"]);
    for _ in 0..3 {
        assert_eq!(boot(&server, &state, "a", false), "2");
    }
    assert_eq!(boot(&server, &state, "a", false), "1");
    // Also noticed by a server that was not there when it happened.
    drop(server);
    let server = TestServer::start(&state);
    server.wait_for_log("stopped at gateway a");
    assert_eq!(["b", "c"].map(|name| current(&state, name)), [1, 1]);
    assert!(state.ok(&["rollout", "list"]).contains("it used up its tries"));
}

#[test]
fn an_operator_can_stop_it() {
    let state = fleet();
    begin(&state, &["--canary", "a", "--then", "all"]);
    let id = state.json(&["rollout", "list"])[0]["id"].as_str().unwrap().to_owned();
    state.ok(&["rollout", "stop", &id]);
    assert!(state.fails(&["rollout", "stop", &id]).contains("no open rollout"));
    let server = TestServer::start(&state);
    boot(&server, &state, "a", true);
    assert_eq!(["b", "c"].map(|name| current(&state, name)), [1, 1]);
}

#[test]
fn waves_that_make_no_sense_are_refused_before_anything_is_stored() {
    let state = fleet();
    state.ok(&["gateway", "set", "c", "--assessment", "none"]);
    for (args, why) in [
        (&["--canary", "a", "--then", "a"][..], "is in two waves"),
        (&["--canary", "c", "--then", "all"], "never acknowledges"),
        (&["--canary", "z", "--then", "all"], "no gateway z"),
        (&["--canary", "a", "--then", "b,c", "--then", "all"], "wave 3 has no gateway"),
    ] {
        let args = roll_out(&state, args);
        let error = state.fails(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(error.contains(why), "{args:?}: {error}");
    }
    assert_eq!(["a", "b", "c"].map(|name| current(&state, name)), [1, 1, 1]);
    for args in [&["--canary", "a"][..], &["--then", "all"], &[]] {
        let args = roll_out(&state, args);
        let output = state.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}
