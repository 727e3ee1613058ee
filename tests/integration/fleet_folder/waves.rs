//! Waves of a fleet folder, and their rules.

use serde_json::json;

use super::Fleet;
use super::current;
use super::state;
use crate::common::TestServer;

#[test]
fn waves_go_live_one_after_the_other_and_are_not_published_twice() {
    let names = ["a-1", "a-2", "b-1", "pinned-1", "quiet-1"];
    let state = state(&names);
    state.publish("pinned-1", 10);
    state.ok(&["pin", "pinned-1"]);
    state.ok(&["gateway", "set", "quiet-1", "--assessment", "none"]);
    let fleet = Fleet::new(&names);
    fleet.write("gateways/a-2.toml", "profile = \"debian\"\ngroup = \"home\"\n");
    fleet.write(
        "fleet.toml",
        "[defaults]\nvariables = { console = \"a\" }\n\
        [[waves]]\ngateways = [\"a-1\", \"pinned-1\", \"quiet-1\"]\n[[waves]]\ngroups = [\"home\"]\n",
    );
    let plan = state.json(&["plan", fleet.str()]);
    assert_eq!(plan["waves"], json!([["a-1", "pinned-1", "quiet-1"], ["a-2"], ["b-1"]]));
    let done = state.json(&["apply", fleet.str()]);
    assert!(done["rollout"].is_string(), "{done}");
    assert_eq!(current(&state, "a-1"), 1);
    for later in ["a-2", "b-1", "quiet-1"] {
        assert_eq!(current(&state, later), json!(null), "{later}");
    }
    // Nothing waits for a gateway that does not try it.
    assert_eq!(current(&state, "pinned-1"), 1);
    let text = state.ok(&["plan", fleet.str()]);
    assert!(text.contains("nothing changes for 5 gateways"), "{text}");
    assert!(state.ok(&["apply", fleet.str()]).contains("nothing to publish"));
    let server = TestServer::start(&state);
    let location =
        server.get_as(&state, "a-1", "/boot/ipxe").header("location").unwrap().to_owned();
    let script = server.get_as(&state, "a-1", &location).text();
    let ack = crate::common::setting_path(&script, "ack_url").unwrap();
    let stream = std::os::unix::net::UnixStream::connect(&server.unix).unwrap();
    assert_eq!(crate::common::request(stream, "POST", &ack, "").unwrap().status, 200);
    let begun = std::time::Instant::now();
    while current(&state, "a-2") != 1 {
        assert!(begun.elapsed() < crate::common::PATIENCE, "the second wave never began");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(current(&state, "b-1"), json!(null));
}

/// A gateway that is switched off held up a rollout for ever, whatever fleet.toml said.
#[test]
fn a_fleet_says_when_a_wave_is_over() {
    let names = ["lab-1", "lab-2"];
    let state = state(&names);
    let fleet = Fleet::new(&names);
    let waves = "[[waves]]\ngateways = [\"lab-1\"]\n[rollout]\n";
    fleet.write("fleet.toml", &format!("{waves}wait-for = \"0%\"\ntimeout = \"soon\"\n"));
    let output = state.run(&["apply", fleet.str()]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("fleet.toml:4:12: expected a share"), "{error}");
    assert!(error.contains("fleet.toml:5:11: "), "{error}");
    fleet.write("fleet.toml", &format!("{waves}wait-for = \"90%\"\ntimeout = \"3d\"\n"));
    state.ok(&["apply", fleet.str()]);
    let rollout = &state.json(&["rollout", "list"])[0];
    assert_eq!(
        (&rollout["wait_for"], &rollout["timeout_seconds"]),
        (&json!(90), &json!(259_200)),
        "{rollout}"
    );
}
