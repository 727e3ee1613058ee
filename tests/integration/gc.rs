//! The disk: what is removed, and what never is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

use crate::common::TestServer;
use crate::common::TestState;
use crate::common::edit;
use crate::common::setting_path;

/// Publishes a script and a file of `size` bytes that only this generation has.
fn publish(state: &TestState, gateway: &str, number: u8, size: usize) {
    let text = vec![number; size];
    let files =
        [("boot.ipxe", &b"#!ipxe\nboot\n"[..]), ("data", &text), ("secrets", b"A=${name}\n")];
    let folder = state.folder("published", &files);
    state.ok(&["publish", "--force", gateway, folder.to_str().unwrap()]);
}

/// All blobs, which are old unless `young` says otherwise.
fn blobs(state: &TestState) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for tree in ["store/blobs", "store/private"] {
        for folder in fs::read_dir(state.dir().join(tree)).into_iter().flatten() {
            for file in fs::read_dir(folder.unwrap().path()).unwrap() {
                found.insert(file.unwrap().path());
            }
        }
    }
    found
}

/// As if all that is there had been there for long.
pub(crate) fn age(state: &TestState) {
    let then = SystemTime::now() - Duration::from_secs(2 * 60 * 60);
    for blob in blobs(state) {
        fs::File::options().append(true).open(blob).unwrap().set_modified(then).unwrap();
    }
}

fn with_generations(count: u8) -> TestState {
    let state = TestState::quick();
    (1..=count).for_each(|number| publish(&state, "lab-1", number, 1000 + usize::from(number)));
    age(&state);
    state
}

#[track_caller]
fn has_files(state: &TestState, number: u64) -> bool {
    let listed = state.json(&["generations", "lab-1", "--files", &number.to_string()]);
    let there = |file: &serde_json::Value| {
        let (path, sha256) = (file["path"].as_str().unwrap(), file["sha256"].as_str().unwrap());
        let tree = if path == "secrets" { "private" } else { "blobs" };
        state.dir().join("store").join(tree).join(&sha256[..2]).join(sha256).exists()
    };
    let all: Vec<bool> = listed["files"].as_array().unwrap().iter().map(there).collect();
    let whole = all.iter().all(|there| *there);
    assert_eq!(listed["dropped"] == true, !whole, "generation {number}: {listed}");
    whole
}

#[test]
fn old_generations_are_dropped_and_say_so() {
    let state = with_generations(6);
    // A run that only shows changes nothing.
    let before = blobs(&state);
    let shown = state.json(&["gc", "--keep", "2", "--dry-run"]);
    assert_eq!(shown["blobs"], 4, "{shown}");
    assert_eq!((blobs(&state), has_files(&state, 1)), (before, true));
    let done = state.json(&["gc", "--keep", "2"]);
    assert_eq!(done["dropped"], shown["dropped"]);
    assert_eq!((&done["blobs"], &done["bytes"]), (&4.into(), &(1001 + 1002 + 1003 + 1004).into()));
    for number in 1..=6 {
        assert_eq!(has_files(&state, number), number > 4, "generation {number}");
    }
    let listed = state.json(&["generations", "lab-1"]);
    let dropped = |row: &serde_json::Value| row["dropped"] == true;
    assert_eq!(listed["generations"].as_array().unwrap().iter().filter(|r| dropped(r)).count(), 4);
    assert!(state.ok(&["generations", "lab-1"]).contains("files removed by `farmgate gc`"));
    for args in
        [&["rollback", "lab-1", "1"][..], &["pin", "lab-1", "1"], &["get", "lab-1", "1", "data"]]
    {
        let line = state.fails(args);
        assert!(line.contains("removed by `farmgate gc`"), "{line}");
    }
    // There is one to go back to, and nothing more to remove.
    assert_eq!(state.json(&["gc", "--keep", "2"])["blobs"], 0);
    state.ok(&["rollback", "lab-1"]);
    // Published again, the same bytes are there again.
    publish(&state, "lab-1", 1, 1001);
    assert!(has_files(&state, 7));
    // Without a number, no generation is dropped, but an orphan is removed.
    let orphan = state.dir().join("store/blobs/ab").join("ab".repeat(32));
    fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    fs::write(&orphan, "left by a publish that failed").unwrap();
    assert_eq!(state.json(&["gc"])["blobs"], 0, "it is young");
    age(&state);
    let done = state.json(&["gc"]);
    assert_eq!((&done["blobs"], done["dropped"].as_array().unwrap().len()), (&1.into(), 0));
    assert!(!orphan.exists());
}

#[test]
fn what_a_boot_may_still_load_stays() {
    let state = with_generations(2);
    let server = TestServer::start(&state);
    // It boots generation 2 over a slow line; meanwhile there are six more.
    let location = server.get(&state, "/boot/ipxe").header("location").unwrap().to_owned();
    let script = server.get(&state, &location).text();
    let secrets = setting_path(&script, "secrets_url").unwrap();
    (3..=8).for_each(|number| publish(&state, "lab-1", number, 1000));
    // One that nobody boots, pinned.
    state.ok(&["pin", "lab-1", "4"]);
    age(&state);
    state.ok(&["gc", "--keep", "1"]);
    let kept: Vec<u64> = (1..=8).filter(|number| has_files(&state, *number)).collect();
    assert_eq!(kept, [2, 4, 7, 8]);
    assert_eq!(server.get(&state, &location.replace("boot.ipxe", "data")).body, [2; 1002]);
    assert_eq!(server.get_unix(&secrets, "").status, 200);
    // One without files is none that could be asked for; the next boot works.
    let gone = server.get(&state, "/g/1/data");
    assert_eq!(gone.status, 404, "{}", gone.text());
    let next = server.get(&state, "/boot/ipxe").header("location").unwrap().to_owned();
    assert_eq!(next, "/g/4/boot.ipxe");
    assert_eq!(server.get(&state, "/g/4/data").body, [4; 1000]);
}

#[test]
fn open_rollouts_keep_what_their_waves_wait_for() {
    let state = with_generations(1);
    state.ok(&["gateway", "add", "lab-2"]);
    publish(&state, "lab-2", 100, 10);
    let folder = state.folder("wave", &[("boot.ipxe", b"#!ipxe\nboot\n"), ("data", b"the wave")]);
    state.ok(&["publish", "--canary", "lab-1", "--then", "lab-2", folder.to_str().unwrap()]);
    (101..105).for_each(|number| publish(&state, "lab-2", number, 10));
    age(&state);
    state.ok(&["gc", "--keep", "1"]);
    let listed = state.json(&["generations", "lab-2"]);
    let rows = listed["generations"].as_array().unwrap().iter();
    let kept: Vec<_> = rows
        .filter(|row| row["dropped"] != true)
        .map(|row| row["generation"].as_u64().unwrap())
        .collect();
    assert_eq!(kept, [2, 5, 6]);
}

#[test]
fn a_removed_gateway_takes_along_what_nobody_else_uses() {
    let state = with_generations(2);
    state.ok(&["gateway", "add", "lab-2"]);
    publish(&state, "lab-2", 2, 1002);
    publish(&state, "lab-2", 9, 1009);
    let before = blobs(&state);
    state.ok(&["gateway", "remove", "lab-2"]);
    let gone: Vec<_> = before.difference(&blobs(&state)).cloned().collect();
    let [gone] = &gone[..] else { panic!("{gone:?}") };
    assert!(!gone.exists() && has_files(&state, 2));
}

#[test]
fn nothing_is_removed_while_an_event_cannot_be_read() {
    let state = with_generations(5);
    let events = state.dir().join("store/gateways");
    let folder = fs::read_dir(&events).unwrap().next().unwrap().unwrap().path();
    let damaged = folder.join("0192a8c0-0000-7000-8000-000000000001.json");
    fs::write(&damaged, "torn").unwrap();
    let before = blobs(&state);
    let line = state.fails(&["gc", "--keep", "1"]);
    assert!(line.contains("may name files") && line.contains("damaged"), "{line}");
    assert_eq!(blobs(&state), before);
    fs::remove_file(&damaged).unwrap();
    state.ok(&["gc", "--keep", "1"]);
    assert!(blobs(&state).len() < before.len());
}

/// A crash between the event and the removal leaves blobs for the next run, and nothing else.
#[test]
fn a_killed_run_leaves_a_state_that_boots() {
    for nth in 0..6 {
        let state = with_generations(6);
        let mut command = std::process::Command::new(crate::common::BIN);
        command.arg("--state").arg(state.dir()).args(["gc", "--keep", "1", "--yes"]);
        let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(4 * nth * nth));
        let _ = child.kill();
        child.wait().unwrap();
        let next = state.json(&["generations", "lab-1"])["next"]["generation"].as_u64();
        assert_eq!(next, Some(6));
        assert!(has_all_files(&state, 6) && has_all_files(&state, 5));
        state.ok(&["gc", "--keep", "1"]);
        assert_eq!(state.json(&["gc", "--keep", "1"])["blobs"], 0);
        assert!(!has_files(&state, 1) && has_files(&state, 5) && has_files(&state, 6));
    }
}

fn has_all_files(state: &TestState, number: u64) -> bool {
    state.run(&["get", "lab-1", &number.to_string(), "data"]).status.success()
}

#[test]
fn the_server_keeps_the_disk() {
    let state = with_generations(4);
    let admin = state.dir().join("admin.sock");
    state.set_listen(&format!("admin = \"{}\"", admin.display()));
    edit(&state.dir().join("farmgate.toml"), |text| format!("{text}\n[store]\nkeep = 1\n"));
    let server = TestServer::start(&state);
    let metric = |name: &str| {
        let text = state.admin("/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("farmgate_{name} ")));
        line.unwrap_or_else(|| panic!("no {name}: {text}")).parse::<f64>().unwrap()
    };
    assert_eq!(metric("gc_last_success_timestamp_seconds"), 0.0);
    server.wait_for_log("removed files of old generations");
    assert_eq!(metric("gc_dropped_generations_total"), 2.0);
    assert_eq!(metric("gc_removed_files_total"), 2.0);
    assert_eq!(metric("gc_removed_bytes_total"), 1001.0 + 1002.0);
    assert!(metric("blobs_bytes") > 0.0 && metric("gc_last_success_timestamp_seconds") > 0.0);
    assert!(!has_files(&state, 2) && has_files(&state, 3));
}

/// Removal of a blob that a publisher found, and has not named yet.
#[test]
fn a_publisher_and_a_run_at_the_same_time_lose_nothing() {
    let state = with_generations(1);
    std::thread::scope(|scope| {
        let runs = scope.spawn(|| {
            for _ in 0..12 {
                age(&state);
                state.ok(&["gc", "--keep", "1"]);
            }
        });
        for round in 0..12u8 {
            // The same bytes come and go.
            publish_in(&state, &format!("folder-{round}"), round % 3);
            let current = state.json(&["generations", "lab-1"])["current"].as_u64().unwrap();
            assert!(has_all_files(&state, current));
        }
        runs.join().unwrap();
    });
}

fn publish_in(state: &TestState, name: &str, number: u8) {
    let files = [("boot.ipxe", &b"#!ipxe\nboot\n"[..]), ("data", &[number; 50_000])];
    let folder: &Path = &state.folder(name, &files);
    state.ok(&["publish", "--force", "lab-1", folder.to_str().unwrap()]);
}
