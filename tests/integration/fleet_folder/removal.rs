//! `--remove-absent`: gateways that the folder no longer describes.

use std::fs;

use serde_json::json;

use super::Fleet;
use super::current;
use super::state;
use crate::common::BIN;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::installed;
use crate::common::skip;
use crate::terminal;
use crate::terminal::on_terminal;

const NAMES: [&str; 4] = ["lab-1", "lab-2", "old-1", "old-2"];

fn names(state: &TestState) -> Vec<String> {
    let listed = state.json(&["gateway", "list"]);
    let name = |row: &serde_json::Value| row["gateway"].as_str().unwrap().to_owned();
    listed.as_array().unwrap().iter().map(name).collect()
}

#[test]
fn only_who_asks_for_it_and_says_yes_removes_what_is_absent() {
    let state = state(&NAMES);
    let credentials = state.credentials("old-1");
    let [certificate, key] = [&credentials.0, &credentials.1].map(|file| fs::read(file).unwrap());
    let fleet = Fleet::new(&["lab-1", "lab-2"]);
    state.ok(&["apply", fleet.str()]);
    assert_eq!(names(&state), NAMES, "nothing is removed by default");
    let exact = |args: &[&str]| {
        let all = [&["plan", "--detailed-exitcode", fleet.str()], args].concat();
        state.run(&all).status.code()
    };
    assert_eq!((exact(&[]), exact(&["--remove-absent"])), (Some(0), Some(2)));
    let text = state.ok(&["plan", "--remove-absent", fleet.str()]);
    assert!(text.contains("removed, with all keys and generations: old-1 old-2"), "{text}");
    assert!(text.ends_with("nothing changes for 2 gateways; 2 are removed\n"), "{text}");
    let plan = state.json(&["plan", "--remove-absent", fleet.str()]);
    assert_eq!((plan["removed"].as_object().unwrap().len(), &plan["absent"]), (2, &json!([])));

    let line = state.fails(&["apply", "--remove-absent", fleet.str()]);
    assert!(line.contains("old-1 old-2") && line.contains("add --yes"), "{line}");
    // A plan is for one extent.
    let file = state.dir().with_file_name("plan.json");
    let file = file.to_str().unwrap();
    state.ok(&["plan", "--remove-absent", "-o", file, fleet.str()]);
    let line = state.fails(&["apply", "--plan", file, fleet.str()]);
    assert!(line.contains("add --remove-absent"), "{line}");
    // The same name, but another gateway.
    state.ok(&["gateway", "remove", "--yes", "old-2"]);
    state.ok(&["gateway", "add", "old-2"]);
    let line = state.fails(&["apply", "--plan", file, "--remove-absent", "--yes", fleet.str()]);
    assert!(line.contains("not that of the plan"), "{line}");
    assert_eq!(names(&state), NAMES);

    // What stays is published in the same go.
    fleet.write("profiles/debian/more", "x");
    state.ok(&["plan", "--remove-absent", "-o", file, fleet.str()]);
    let done = state.json(&["apply", "--plan", file, "--remove-absent", "-y", fleet.str()]);
    assert_eq!(done["removed"], json!(["old-1", "old-2"]));
    assert_eq!(names(&state), ["lab-1", "lab-2"]);
    assert_eq!(current(&state, "lab-1"), 2);
    let log = state.json(&["log"]);
    let removed = log.as_array().unwrap().iter().filter(|line| line["what"] == "gateway-removed");
    assert_eq!(removed.count(), 3, "{log}");
    // It is revoked, too.
    let [crt, pem] = ["crt", "key"].map(|end| state.dir().with_file_name(format!("old.{end}")));
    fs::write(&crt, certificate).unwrap();
    fs::write(&pem, key).unwrap();
    let server = TestServer::start(&state);
    let stream = server.tls(&state, Some((crt, pem)));
    let refused = crate::common::request(stream, "GET", "/boot/ipxe", "");
    assert!(refused.is_ok_and(|reply| reply.status == 403));
    assert_eq!(server.get(&state, "/boot/ipxe").status, 302);
    assert_eq!(exact(&["--remove-absent"]), Some(0));
}

#[test]
fn what_could_not_be_revoked_or_is_everything_is_not_removed() {
    let state = state(&["lab-1", "old-1"]);
    let fleet = Fleet::new(&[]);
    fs::create_dir_all(fleet.path("gateways")).unwrap();
    let line = state.fails(&["apply", "--remove-absent", "--yes", fleet.str()]);
    assert!(line.contains("describes no gateway"), "{line}");
    let fleet = Fleet::new(&["lab-1"]);
    let (key, away) = (state.dir().join("pki/ca.key"), state.dir().join("pki/away"));
    fs::rename(&key, &away).unwrap();
    let line = state.fails(&["apply", "--remove-absent", "--yes", fleet.str()]);
    assert!(line.contains("no gateway can be removed; nothing was changed"), "{line}");
    assert_eq!((names(&state).len(), current(&state, "lab-1")), (2, json!(null)));
    fs::rename(&away, &key).unwrap();
    state.ok(&["apply", "--remove-absent", "--yes", fleet.str()]);
    assert_eq!(names(&state), ["lab-1"]);
}

#[test]
fn on_a_terminal_it_asks() {
    if installed("script").is_none() {
        return skip("the question of apply", "there is no script");
    }
    let state = state(&["lab-1", "old-1"]);
    let fleet = Fleet::new(&["lab-1"]);
    let answered = |answer: &str| {
        let words = format!("apply --remove-absent {}", fleet.str());
        let command = format!("{BIN} --state {} {words}", state.dir().display());
        terminal::answered(on_terminal(&command), answer)
    };
    let (status, text) = answered("n\n");
    assert!(status == Some(1) && text.contains("Remove gateway old-1"), "{text}");
    assert_eq!((names(&state).len(), current(&state, "lab-1")), (2, json!(null)));
    let (status, text) = answered("y\n");
    assert!(status == Some(0) && text.contains("removed: old-1"), "{text}");
    assert_eq!(names(&state), ["lab-1"]);
}
