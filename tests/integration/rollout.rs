use std::os::unix::net::UnixStream;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Instant;

use crate::common::BIN;
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
pub(crate) fn boot(server: &TestServer, state: &TestState, gateway: &str, works: bool) -> String {
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

/// The outcome of the latest rollout.
pub(crate) fn outcome(state: &TestState) -> String {
    state.json(&["rollout", "show"])["outcome"].as_str().unwrap_or("under way").to_owned()
}

/// Runs beside the test, until its output is waited for.
fn spawn(state: &TestState, args: &[&str]) -> Child {
    let mut command = Command::new(BIN);
    command.arg("--state").arg(state.dir()).args(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The status of a program that ends, and all it printed.
fn ended(child: Child) -> (i32, String) {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap(), text)
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
    // The last wave is watched, too.
    assert!(state.ok(&["rollout", "list"]).contains("under way"));
    assert_eq!(boot(&server, &state, "c", true), "2");
    wait_until("it is closed", || outcome(&state) == "finished: every wave works");
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

/// The generation of all three works.
fn good_fleet() -> (TestState, TestServer) {
    let state = fleet();
    let server = TestServer::start(&state);
    for name in ["a", "b", "c"] {
        boot(&server, &state, name, true);
    }
    (state, server)
}

#[test]
fn it_is_shown_and_watched() {
    let (state, server) = good_fleet();
    begin(&state, &["-m", "kernel 6.12", "--canary", "a", "--then", "all"]);
    boot(&server, &state, "a", false);
    wait_until("its stage is told", || state.ok(&["rollout", "show"]).contains("1 boot: boot"));
    let id = state.json(&["rollout", "show"])["id"].as_str().unwrap().to_owned();
    let short = &id[id.len() - 8..];
    assert!(state.ok(&["rollout", "list"]).contains(short));
    let text = state.ok(&["rollout", "show", short]);
    for words in [short, ": kernel 6.12", "wave 1: 0 of 1", "waits since", "1 boot", "not begun"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let shown = state.json(&["rollout", "show", &id]);
    assert_eq!(shown["by"]["message"], "kernel 6.12");
    assert_eq!(shown["waves"][0][0]["standing"], "trying");
    assert_eq!(shown["waves"][0][0]["boots"], 1);
    assert_eq!(shown["waves"][1][1]["standing"], "waiting");
    for wrong in ["1234567", "ffffffffffff", "gh", "123"] {
        let output = state.run(&["rollout", "show", wrong]);
        assert!(!output.status.success(), "{wrong}");
    }

    let watching = spawn(&state, &["rollout", "show", "--watch"]);
    for name in ["a", "b", "c"] {
        wait_until("its wave begins", || current(&state, name) == 2);
        boot(&server, &state, name, true);
    }
    let (status, said) = ended(watching);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("finished: every wave works"), "{said}");
    assert!(said.lines().any(|line| line.contains("Z  c  acknowledged")), "{said}");
    assert_eq!(state.json(&["rollout", "show"])["end"], "finished");
}

#[test]
fn what_fails_is_told_and_others_go_on_only_if_an_operator_says_so() {
    let (state, mut server) = good_fleet();
    begin(&state, &["--canary", "a,b", "--then", "all"]);
    let watching = spawn(&state, &["rollout", "show", "--watch"]);
    for _ in 0..3 {
        boot(&server, &state, "a", false);
    }
    // It leaves nothing unwritten in its flight recorder.
    server.terminate();
    server.wait();
    let server = TestServer::start(&state);
    let (status, said) = ended(watching);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("stopped at gateway a: it used up its tries"), "{said}");
    assert!(state.ok(&["rollout", "show"]).contains("failed: 3 boots, none acknowledged: boot"));

    let error = state.fails(&["rollout", "resume"]);
    assert!(error.contains("does not work on gateway a"), "{error}");
    assert!(state.ok(&["rollout", "resume", "--skip-failed"]).contains("without a"));
    assert!(state.ok(&["rollout", "show"]).contains("(left out)"));
    boot(&server, &state, "b", true);
    wait_until("the last wave goes live", || current(&state, "c") == 2);
    boot(&server, &state, "c", true);
    wait_until("it is closed", || outcome(&state) == "finished: every wave works");
    assert!(state.fails(&["rollout", "resume"]).contains("has finished"));
}

#[test]
fn stopped_and_resumed_it_comes_to_the_same_end() {
    let (state, server) = good_fleet();
    begin(&state, &["--canary", "a", "--then", "b", "--then", "all"]);
    state.ok(&["rollout", "stop", "-m", "lunch"]);
    boot(&server, &state, "a", true);
    assert_eq!(current(&state, "b"), 1);
    assert!(state.fails(&["rollout", "stop"]).contains("no open rollout"));
    state.ok(&["rollout", "resume"]);
    assert_eq!(current(&state, "b"), 2);
    assert!(state.fails(&["rollout", "resume"]).contains("open already"));
    // Whoever leaves meanwhile stops it, and is left out afterwards.
    state.ok(&["gateway", "remove", "b"]);
    drop(server);
    let server = TestServer::start(&state);
    wait_until("it stops", || outcome(&state) == "stopped at gateway b: it was removed");
    assert!(state.ok(&["rollout", "resume"]).contains("without b"));
    assert_eq!(current(&state, "c"), 2);
    boot(&server, &state, "c", true);
    wait_until("it is closed", || outcome(&state) == "finished: every wave works");
}

#[test]
fn taken_back_it_leaves_everybody_at_what_was_good() {
    let (state, server) = good_fleet();
    begin(&state, &["--canary", "a", "--then", "b", "--then", "all"]);
    boot(&server, &state, "a", true);
    wait_until("the second wave goes live", || current(&state, "b") == 2);
    // One of them has gone its own way.
    state.publish("c", 20);
    assert_eq!(["a", "b", "c"].map(|name| current(&state, name)), [2, 2, 3]);
    let stopped = state.json(&["rollout", "stop", "--revert", "-m", "no network"]);
    assert_eq!(stopped["back"], serde_json::json!({ "a": 1, "b": 1 }));
    assert_eq!(["a", "b", "c"].map(|name| current(&state, name)), [1, 1, 3]);
    assert_eq!(boot(&server, &state, "a", false), "1");
    let log = state.ok(&["log", "a"]);
    assert!(log.contains("went back to generation 1: no network"), "{log}");
    // Nothing is left to do, and nobody goes on.
    let id = state.json(&["rollout", "show"])["id"].as_str().unwrap().to_owned();
    let again = state.json(&["rollout", "stop", "--revert", &id]);
    assert_eq!(again["back"], serde_json::json!({}));
    assert!(state.fails(&["rollout", "resume"]).contains("was taken back"));
}

#[test]
fn a_machine_that_is_switched_off_blocks_nobody_for_ever() {
    let (state, server) = good_fleet();
    begin(&state, &["--canary", "a,b", "--wait-for", "50%", "--then", "all"]);
    assert!(state.ok(&["rollout", "show"]).contains("a wave is over when 50% of it work"));
    boot(&server, &state, "a", true);
    wait_until("the last wave goes live", || current(&state, "c") == 2);
    boot(&server, &state, "c", true);
    wait_until("it is closed", || outcome(&state) == "finished: every wave works");
    assert!(state.ok(&["rollout", "show"]).contains("has not booted"));
}

#[test]
fn a_wave_that_waits_too_long_stops_it() {
    let (state, server) = good_fleet();
    begin(&state, &["--canary", "a", "--timeout", "1s", "--then", "all"]);
    assert!(state.ok(&["rollout", "show"]).contains("longer than 1s"));
    std::thread::sleep(std::time::Duration::from_millis(1100));
    drop(server);
    let server = TestServer::start(&state);
    server.wait_for_log("stopped: wave 1 waited too long for a");
    wait_until("it is closed", || outcome(&state).contains("waited too long"));
    assert_eq!(state.json(&["rollout", "show"])["end"], "timed-out");
    assert_eq!(["b", "c"].map(|name| current(&state, name)), [1, 1]);
}

#[test]
fn a_pin_holds_up_no_rollout_unseen() {
    let (state, server) = good_fleet();
    state.ok(&["pin", "a", "1"]);
    let args = roll_out(&state, &["--canary", "a", "--then", "all"]);
    let error = state.fails(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(error.contains("of gateway a is pinned"), "{error}");
    // In the last wave it delays nobody.
    begin(&state, &["--canary", "b", "--then", "all"]);
    boot(&server, &state, "b", true);
    wait_until("the last wave goes live", || current(&state, "c") == 2);
    boot(&server, &state, "c", true);
    wait_until("it is closed", || outcome(&state) == "finished: every wave works");
    assert_eq!(boot(&server, &state, "a", false), "1");
}

#[test]
fn two_rollouts_of_one_gateway_are_told_of() {
    let state = fleet();
    begin(&state, &["--canary", "a", "--then", "all"]);
    let folder = state.folder("later", &[("boot.ipxe", b"#!ipxe\nboot\n"), ("vmlinuz", b"later")]);
    let args = ["publish", "--canary", "b", "--then", "c", folder.to_str().unwrap()];
    let output = state.run(&args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && stderr.contains("is open, and has b and 1 more"),
        "{stderr}"
    );
    let server = TestServer::start(&state);
    boot(&server, &state, "a", true);
    // The second has activated its generation for `b`, so the first passes it by in its last wave.
    wait_until("c gets the first's", || current(&state, "c") == 2);
    assert_eq!(current(&state, "b"), 3);
    boot(&server, &state, "b", true);
    wait_until("c gets the second's", || current(&state, "c") == 3);
}

#[test]
fn the_boots_are_followed_until_they_are_acknowledged_or_failed() {
    let (state, server) = good_fleet();
    let folder = state.folder("next", &[("boot.ipxe", b"#!ipxe\nboot\n"), ("vmlinuz", b"new")]);
    let publish = ["publish", "--follow", "a", folder.to_str().unwrap()];
    let following = spawn(&state, &publish);
    wait_until("it is live", || current(&state, "a") == 2);
    boot(&server, &state, "a", true);
    let (status, said) = ended(following);
    assert_eq!(status, 0, "{said}");
    for words in ["a now gets generation 2", "Z  a  waits since", "Z  a  acknowledged"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // It works already.
    assert_eq!(ended(spawn(&state, &publish)).0, 0);

    let folder = state.folder("bad", &[("boot.ipxe", b"#!ipxe\nboot\n"), ("vmlinuz", b"bad")]);
    let following = spawn(&state, &["publish", "--follow", "b", folder.to_str().unwrap()]);
    wait_until("it is live", || current(&state, "b") == 2);
    for _ in 0..3 {
        boot(&server, &state, "b", false);
    }
    let (status, said) = ended(following);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("b failed: 3 boots, none acknowledged"), "{said}");

    let args = ["publish", "--follow", "--timeout", "1s", "c", folder.to_str().unwrap()];
    let (status, said) = ended(spawn(&state, &args));
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("the time is up"), "{said}");
}

/// It was counted among those that are waited for, and the page said that it was trying.
#[test]
fn nobody_waits_for_a_revoked_gateway() {
    let state = fleet();
    let admin = state.dir().join("admin.sock");
    state.set_listen(&format!("admin = \"{}\"", admin.display()));
    begin(&state, &["--canary", "a", "--then", "all"]);
    let server = TestServer::start(&state);
    let waiting = |count: &str| {
        let text = state.admin("/metrics").text();
        text.lines().any(|line| line == format!("farmgate_rollout_waiting {count}"))
    };
    boot(&server, &state, "a", true);
    wait_until("the last wave begins", || waiting("2"));
    let is_out = || state.admin("/rollouts").text().contains("out of it");
    assert!(!is_out());
    state.ok(&["gateway", "revoke", "c"]);
    wait_until("one is left", || waiting("1"));
    wait_until("the page says so", is_out);
}

#[test]
fn metrics_say_who_is_waited_for() {
    let state = fleet();
    let admin = state.dir().join("admin.sock");
    state.set_listen(&format!("admin = \"{}\"", admin.display()));
    begin(&state, &["--canary", "a,b", "--then", "all"]);
    let server = TestServer::start(&state);
    let metric = |name: &str| -> f64 {
        let text = state.admin("/metrics").text();
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        line.unwrap_or_else(|| panic!("no {name}")).rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert_eq!(metric("farmgate_rollouts_open"), 1.0);
    assert_eq!(metric("farmgate_rollout_waiting"), 2.0);
    assert!(metric("farmgate_rollout_waiting_since_timestamp_seconds") > 0.0);
    assert_eq!(metric("farmgate_rollouts_ended_total{result=\"failed\"}"), 0.0);
    for gateway in ["a", "b", "c"] {
        wait_until("its wave begins", || current(&state, gateway) == 2);
        boot(&server, &state, gateway, true);
    }
    wait_until("it is closed", || metric("farmgate_rollouts_open") == 0.0);
    assert_eq!(metric("farmgate_rollout_waiting"), 0.0);
    wait_until("it is counted", || {
        metric("farmgate_rollouts_ended_total{result=\"finished\"}") == 1.0
    });
}
