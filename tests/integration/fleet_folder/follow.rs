//! `apply --follow`, with a server and gateways that boot.

use std::os::unix::net::UnixStream;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Instant;

use serde_json::json;

use super::Fleet;
use super::current;
use super::state;
use crate::common::BIN;
use crate::common::PATIENCE;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::request;
use crate::common::setting_path;

fn following(state: &TestState, fleet: &Fleet) -> Child {
    let mut command = Command::new(BIN);
    command.arg("--state").arg(state.dir()).args(["apply", "--follow", fleet.str()]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn ended(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

fn wait_for(state: &TestState, gateway: &str, generation: u64) {
    let begun = Instant::now();
    while current(state, gateway) != json!(generation) {
        assert!(begun.elapsed() < PATIENCE, "{gateway} never got {generation}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Boots a gateway, which says that it works or not.
fn boot(server: &TestServer, state: &TestState, gateway: &str, works: bool) {
    let reply = server.get_as(state, gateway, "/boot/ipxe");
    let location = reply.header("location").unwrap().to_owned();
    let script = server.get_as(state, gateway, &location).text();
    if works {
        let path = setting_path(&script, "ack_url").unwrap();
        let stream = UnixStream::connect(&server.unix).unwrap();
        assert_eq!(request(stream, "POST", &path, "").unwrap().status, 200);
    }
}

#[test]
fn every_boot_is_shown_until_all_have_acknowledged() {
    let names = ["lab-1", "lab-2"];
    let state = state(&names);
    let fleet = Fleet::new(&names);
    let server = TestServer::start(&state);
    let child = following(&state, &fleet);
    for name in names {
        wait_for(&state, name, 1);
        boot(&server, &state, name, true);
    }
    let (status, said) = ended(child);
    assert_eq!(status, Some(0), "{said}");
    for words in ["published for 2 of 2 gateways", "lab-1  acknowledged", "lab-2  acknowledged"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // Nothing is new, so nothing is waited for.
    let (status, said) = ended(following(&state, &fleet));
    assert!(status == Some(0) && said.contains("nothing to publish"), "{said}");

    // Only what changed is followed. One that fails is told of at the end.
    fleet.write("gateways/lab-2.toml", "profile = \"debian\"\nvariables = { console = \"x\" }\n");
    let child = following(&state, &fleet);
    wait_for(&state, "lab-2", 2);
    for _ in 0..3 {
        boot(&server, &state, "lab-2", false);
    }
    let (status, said) = ended(child);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("lab-2 failed: 3 boots, none acknowledged"), "{said}");
    assert!(!said.contains("lab-1  "), "{said}");
}

#[test]
fn waves_are_followed_to_their_end_and_silence_has_a_limit() {
    let names = ["lab-1", "lab-2"];
    let state = state(&names);
    let fleet = Fleet::new(&names);
    let defaults = "[defaults]\nvariables = { console = \"a\" }\n";
    fleet.write("fleet.toml", &format!("{defaults}[[waves]]\ngateways = [\"lab-1\"]\n"));
    let server = TestServer::start(&state);
    let child = following(&state, &fleet);
    wait_for(&state, "lab-1", 1);
    assert_eq!(current(&state, "lab-2"), json!(null));
    boot(&server, &state, "lab-1", true);
    wait_for(&state, "lab-2", 1);
    boot(&server, &state, "lab-2", true);
    let (status, said) = ended(child);
    assert_eq!(status, Some(0), "{said}");
    for words in ["lab-1  acknowledged", "lab-2  acknowledged", "finished: every wave works"] {
        assert!(said.contains(words), "{words}: {said}");
    }

    // Switched off: fleet.toml says how long to wait, also where all is published at once.
    let limit = "[rollout]\ntimeout = \"1s\"\n";
    fleet.write("fleet.toml", &format!("{}{limit}", defaults.replace("\"a\"", "\"b\"")));
    let (status, said) = ended(following(&state, &fleet));
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("the time is up"), "{said}");
}
