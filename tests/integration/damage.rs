//! One thing that is damaged, in a fleet.

use std::fs;
use std::path::PathBuf;

use farmgate::fleet::EventId;
use farmgate::fleet::Kind;
use farmgate::store::State;
use farmgate::store::generations::Generations;
use farmgate::store::generations::MOST_OBJECTS;
use serde_json::Value;
use time::OffsetDateTime;

use crate::common::TestServer;
use crate::common::TestState;
use crate::common::nginx_headers;

/// A fleet of three with something to boot.
fn fleet() -> TestState {
    let state = TestState::quick();
    for name in ["lab-2", "lab-3"] {
        state.ok(&["gateway", "add", name]);
    }
    for name in ["lab-1", "lab-2", "lab-3"] {
        state.publish(name, 100);
    }
    state
}

fn events(state: &TestState, gateway: &str) -> PathBuf {
    let opened = State::open(&state.dir(), None).unwrap();
    let record = opened.gateways().load(&gateway.parse().unwrap()).unwrap();
    state.dir().join("store/gateways").join(record.id)
}

const EVENT: &str = "0192a8c0-0000-7000-8000-000000000001.json";

/// The folder of a gateway's events vanishes under a running server. The first boot used to make
/// a new one with itself in it, and from then on nothing was published for that gateway.
#[test]
fn a_gateway_boots_on_what_was_last_seen_when_its_events_are_gone() {
    let state = fleet();
    let server = TestServer::start(&state);
    let lab_1 = nginx_headers(&state.credentials("lab-1").0);
    let boots = || {
        assert_eq!(server.get_unix("/boot/ipxe", &lab_1).status, 302);
        assert_eq!(server.get_unix("/g/1/boot.ipxe", &lab_1).status, 200);
        assert_eq!(server.get_unix("/g/1/vmlinuz", &lab_1).status, 200);
    };
    boots();
    let home = events(&state, "lab-1");
    let events = || Generations::new(&State::open(&state.dir(), None).unwrap());
    let id = &home.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let before = events().objects(id).unwrap();
    let away = state.dir().join("away");
    fs::rename(&home, &away).unwrap();
    boots();
    boots();
    assert!(!home.exists());
    fs::rename(&away, &home).unwrap();
    assert_eq!(events().objects(id).unwrap(), before);
    // They are recorded again.
    boots();
    assert_eq!(events().objects(id).unwrap().len(), before.len() + 1);
}

/// Runs a command that shows the rest, and fails with one line in the end.
fn shows_the_rest(state: &TestState, args: &[&str], damaged: &str) -> Value {
    let output = state.run(&[&["--json"], args].concat());
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains(damaged), "{args:?}: {error}");
    // For people, too.
    let text = String::from_utf8(state.run(args).stdout).unwrap();
    assert!(text.contains("lab-1") && text.contains("lab-3"), "{text}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// One damaged event used to be all that `status` and `gateway list` said of a whole fleet.
#[test]
fn commands_over_the_fleet_go_on_without_what_is_damaged() {
    let state = fleet();
    let home = events(&state, "lab-2");
    let record = state.dir().join("gateways/lab-2/gateway.json");
    let journal = home.join("journal.jsonl");
    fs::write(&journal, "").unwrap();
    let damages: [(&PathBuf, &[&str]); 3] = [
        (&home.join(EVENT), &["status", "gateway list"]),
        (&record, &["status", "gateway list", "bucket list"]),
        (&journal, &["status"]),
    ];
    for (path, commands) in damages {
        let before = fs::read(path).ok();
        if *path == journal {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        } else {
            fs::write(path, "{").unwrap();
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        for command in commands {
            let args: Vec<_> = command.split(' ').collect();
            if *command == "bucket list" {
                assert!(state.fails(&args).contains(name));
                continue;
            }
            let rows = shows_the_rest(&state, &args, name);
            let rows = rows.as_array().unwrap();
            let names: Vec<_> = rows.iter().map(|row| row["gateway"].as_str().unwrap()).collect();
            assert_eq!(names, ["lab-1", "lab-2", "lab-3"], "{command}");
            let wrong: Vec<_> = rows.iter().map(|row| row["error"].as_str()).collect();
            assert!(wrong[0].is_none() && wrong[2].is_none(), "{wrong:?}");
            assert!(wrong[1].is_some_and(|error| error.contains(name)), "{wrong:?}");
            assert_eq!((&rows[0]["generation"], &rows[2]["generation"]), (&1.into(), &1.into()));
            // What can be read of it is what the server goes by.
            let known = if *path == record { Value::Null } else { 1.into() };
            assert_eq!(rows[1]["generation"], known, "{command}");
        }
        if fs::remove_dir(path).is_err() {
            fs::remove_file(path).unwrap();
        }
        if let Some(before) = before {
            fs::write(path, before).unwrap();
        }
        for command in commands {
            state.ok(&command.split(' ').collect::<Vec<_>>());
        }
    }
}

/// Packing used to end with the first damaged event: 1,989 objects were seen.
#[test]
fn packing_goes_on_beside_what_is_damaged_and_stops_for_what_is_newer() {
    let state = TestState::quick();
    state.publish("lab-1", 100);
    let home = events(&state, "lab-1");
    let id = home.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let generations = Generations::new(&State::open(&state.dir(), None).unwrap());
    let generation = generations.history(&id).unwrap().current().unwrap().id;
    fs::write(home.join(EVENT), "{").unwrap();
    let boot = || {
        let now = OffsetDateTime::now_utc();
        generations.append(&id, Kind::Booted { generation, certificate: None }, now).unwrap()
    };
    let first = boot();
    generations.append(&id, Kind::Acknowledged { boot: first }, OffsetDateTime::now_utc()).unwrap();
    for _ in 0..MOST_OBJECTS {
        boot();
    }
    let objects = generations.objects(&id).unwrap().len();
    assert!(objects < 20, "{objects} objects");
    assert_eq!(fs::read(home.join(EVENT)).unwrap(), b"{", "somebody may mend it");
    let history = generations.readable(&id).unwrap().history;
    assert!(history.trial(1).is_good());

    fs::write(home.join(EVENT), r#"{"format":99,"x":1}"#).unwrap();
    for _ in 0..MOST_OBJECTS {
        boot();
    }
    assert!(generations.objects(&id).unwrap().len() > MOST_OBJECTS);
    fs::remove_file(home.join(EVENT)).unwrap();
    boot();
    assert!(generations.objects(&id).unwrap().len() < 20);
}

/// Words about boots that never arrived used to be packed and read for ever.
#[test]
fn words_about_boots_that_never_arrive_do_not_pile_up() {
    let state = TestState::quick();
    state.publish("lab-1", 100);
    let id = events(&state, "lab-1").file_name().unwrap().to_str().unwrap().parse().unwrap();
    let generations = Generations::new(&State::open(&state.dir(), None).unwrap());
    for n in 0..2 * MOST_OBJECTS as u64 {
        let boot = EventId::after(None, n);
        generations.append(&id, Kind::Acknowledged { boot }, OffsetDateTime::now_utc()).unwrap();
    }
    let events = generations.events(&id).unwrap().len();
    assert!(events < MOST_OBJECTS + 70, "{events} events");
    generations.condense(&id, OffsetDateTime::now_utc()).unwrap();
    assert_eq!(generations.events(&id).unwrap().len(), 2 + 64);
}

#[test]
fn a_rollout_that_is_damaged_holds_up_no_other() {
    let state = fleet();
    let folder = state.dir().join("store/rollouts");
    let begin = |canary: &str, then: &str, kernel: &[u8]| {
        let files = [("boot.ipxe", &b"#!ipxe\nboot\n"[..]), ("vmlinuz", kernel)];
        let dir = state.folder(canary, &files);
        let args = ["publish", "--canary", canary, "--then", then, dir.to_str().unwrap()];
        let begun = state.run(&[&["--json"], &args[..]].concat());
        (begun.status.code(), serde_json::from_slice::<Value>(&begun.stdout).unwrap())
    };
    assert_eq!(begin("lab-1", "lab-2", b"one").0, Some(0));
    let one = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let name = one.file_name().unwrap().to_str().unwrap().to_owned();
    fs::write(&one, "{").unwrap();
    assert_eq!(begin("lab-2", "lab-3", b"two").0, Some(0));
    let error = state.fails(&["rollout", "list"]);
    assert!(error.contains(&name), "{error}");
    let current = |name: &str| state.json(&["generations", name])["current"].clone();
    assert_eq!((current("lab-2"), current("lab-3")), (3.into(), 1.into()));

    let server = TestServer::start(&state);
    server.wait_for_log("some rollouts cannot continue");
    assert_eq!(server.get_as(&state, "lab-2", "/boot/ipxe").status, 302);
    let script = server.get_as(&state, "lab-2", "/g/3/boot.ipxe").text();
    let ack = crate::common::setting_path(&script, "ack_url").unwrap();
    assert_eq!(server.get_as(&state, "lab-2", &ack).status, 200);
    crate::store::records::wait_for("the second wave", || current("lab-3") == 2);

    // A gateway that nobody can publish for is left out of "all", and named.
    fs::write(&one, "").unwrap();
    fs::remove_file(&one).unwrap();
    fs::write(state.dir().join("gateways/lab-3/gateway.json"), "{").unwrap();
    let (code, begun) = begin("lab-1", "all", b"three");
    assert_eq!(code, Some(1));
    assert_eq!(begun["waves"], serde_json::json!([["lab-1"], ["lab-2"]]));
}
