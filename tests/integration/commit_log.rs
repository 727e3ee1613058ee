//! The log of events: what a power failure leaves, a full disk, and two servers on one state.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use crate::common::BIN;
use crate::common::SmallDisk;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::nginx_headers;

const GATEWAYS: [&str; 4] = ["lab-1", "lab-2", "lab-3", "lab-4"];

fn fleet(state: &TestState) {
    for name in &GATEWAYS[1..] {
        state.ok(&["gateway", "add", name]);
    }
    for name in GATEWAYS {
        state.publish(name, 10);
        state.ok(&["gateway", "set", name, "--assessment", "none"]);
    }
}

fn headers(state: &TestState) -> [String; 4] {
    GATEWAYS.map(|name| nginx_headers(&state.credentials(name).0))
}

/// All gateways boot at the same moment.
fn boot_all(server: &TestServer, headers: &[String; 4]) {
    thread::scope(|scope| {
        for headers in headers {
            scope.spawn(|| assert_eq!(server.get_unix("/boot/ipxe", headers).status, 302));
        }
    });
}

fn boots(state: &TestState) -> [u64; 4] {
    GATEWAYS
        .map(|name| state.json(&["generations", name])["generations"][0]["boots"].as_u64().unwrap())
}

fn objects(state: &TestState) -> BTreeSet<PathBuf> {
    let homes = fs::read_dir(state.dir().join("store/gateways")).unwrap();
    let files = homes.flat_map(|home| fs::read_dir(home.unwrap().path()).unwrap());
    let files = files.map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|e| e == "json")).collect()
}

/// Events in the log: lines of one epoch, the first ones of its first half. The server empties it
/// half a minute after its start at the earliest.
fn lines(state: &TestState) -> usize {
    let log = fs::read(state.dir().join("store/commit.log")).unwrap_or_default();
    let lines = log.split(|byte| *byte == b'\n').map(|line| line.split(|byte| *byte == b' '));
    let mut epochs = lines.map(|mut words| words.nth(1).unwrap_or_default());
    let first = epochs.next().unwrap_or_default();
    let empty = log.is_empty() || log.starts_with(&[0]);
    if empty { 0 } else { 1 + epochs.take_while(|epoch| *epoch == first).count() }
}

/// What was not synced when power failed is missing, or has no bytes.
fn lose(paths: &BTreeSet<PathBuf>) {
    for (number, path) in paths.iter().enumerate() {
        if number % 2 == 0 { fs::remove_file(path) } else { fs::write(path, "") }.unwrap();
    }
}

#[test]
fn boots_that_were_answered_outlast_a_power_failure() {
    let state = TestState::quick();
    fleet(&state);
    let headers = headers(&state);
    for command_comes_first in [false, true] {
        let before = objects(&state);
        let counted = boots(&state);
        let server = TestServer::start(&state);
        boot_all(&server, &headers);
        boot_all(&server, &headers);
        drop(server);
        assert_eq!(lines(&state), 8);
        let new: BTreeSet<_> = objects(&state).difference(&before).cloned().collect();
        assert_eq!(new.len(), 8);
        lose(&new);
        let server = (!command_comes_first).then(|| TestServer::start(&state));
        assert_eq!(boots(&state), counted.map(|boots| boots + 2));
        assert!(objects(&state).is_superset(&new));
        assert_eq!(lines(&state), 0, "by a command: {command_comes_first}");
        drop(server);
    }
}

#[test]
fn a_gateway_that_was_removed_does_not_come_back() {
    let state = TestState::quick();
    fleet(&state);
    let headers = headers(&state);
    let server = TestServer::start(&state);
    boot_all(&server, &headers);
    drop(server);
    assert_eq!(lines(&state), 4);
    // As if power had failed before: a command would else empty the log.
    let log = state.dir().join("store/commit.log");
    let held = fs::read(&log).unwrap();
    state.ok(&["gateway", "remove", "lab-4"]);
    fs::write(&log, held).unwrap();
    let homes = || fs::read_dir(state.dir().join("store/gateways")).unwrap().count();
    assert_eq!(homes(), 3);
    state.ok(&["gateway", "list"]);
    assert_eq!((homes(), lines(&state)), (3, 0));
}

#[test]
fn a_second_server_writes_its_events_without_the_log() {
    let state = TestState::quick();
    fleet(&state);
    let headers = headers(&state);
    let first = TestServer::start(&state);
    boot_all(&first, &headers);
    let unix = state.dir().join("second.sock");
    let mut command = Command::new(BIN);
    command.arg("--state").arg(state.dir()).args(["serve", "--unix"]).arg(&unix);
    let second = TestServer::spawn(command, unix);
    second.wait_for_log("commit.log is locked by");
    boot_all(&second, &headers);
    drop((first, second));
    assert_eq!(lines(&state), 4);
    assert_eq!(boots(&state), [2; 4]);
    let server = TestServer::start(&state);
    boot_all(&server, &headers);
    assert_eq!(boots(&state), [3; 4]);
    assert!(!server.log_so_far().contains("each event is written by itself"));
}

#[test]
fn where_there_is_no_room_for_the_log_events_are_recorded_without_it() {
    let mut disk = None;
    let state = TestState::prepared_with(&["--key-type", "p256"], |dir| {
        disk = SmallDisk::mount(dir, "size=8m,mode=711", "events without the log");
    });
    let Some(disk) = disk else { return };
    state.ok(&["gateway", "add", "lab-1"]);
    fleet(&state);
    let headers = headers(&state);
    let ballast = disk.fill();
    // Enough for events, and not for the log.
    let file = fs::File::options().write(true).open(&ballast).unwrap();
    file.set_len(file.metadata().unwrap().len() - 512 * 1024).unwrap();
    drop(file);
    let server = TestServer::start(&state);
    let said = server.wait_for_log("each event is written by itself");
    assert!(said.contains("commit.log"), "{said}");
    boot_all(&server, &headers);
    assert_eq!(boots(&state), [1; 4]);
    drop(server);

    fs::remove_file(ballast).unwrap();
    let server = TestServer::start(&state);
    boot_all(&server, &headers);
    drop(server);
    assert_eq!(lines(&state), 4);
    assert_eq!(boots(&state), [2; 4]);
    drop(disk);
}

/// The log has its room, and an event has none: nobody is told of a boot that does not count.
#[test]
fn on_a_full_disk_no_line_says_what_did_not_happen() {
    let mut disk = None;
    let state = TestState::prepared_with(&["--key-type", "p256"], |dir| {
        disk = SmallDisk::mount(dir, "size=8m,mode=711", "events on a full disk");
    });
    let Some(disk) = disk else { return };
    state.ok(&["gateway", "add", "lab-1"]);
    fleet(&state);
    let headers = headers(&state);
    let server = TestServer::start(&state);
    boot_all(&server, &headers);
    let ballast = disk.fill();
    boot_all(&server, &headers);
    server.wait_for_log("a boot could not be recorded");
    fs::remove_file(ballast).unwrap();
    boot_all(&server, &headers);
    drop(server);
    assert_eq!(lines(&state), 8);
    assert_eq!(boots(&state), [2; 4]);
    drop(disk);
}
