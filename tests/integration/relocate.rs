//! `state move`: with a server, to another file system, killed, by root for another user.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;

use crate::common::BIN;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::skip;
use crate::ownership::NOBODY;
use crate::ownership::is_root;
use crate::ownership::nobodys_state;

/// A folder on another file system than the states of tests.
fn other_disk(state: &TestState) -> Option<TempDir> {
    let disk = tempfile::tempdir_in("/dev/shm").ok()?;
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    (device(disk.path()) != device(&state.dir())).then_some(disk)
}

#[test]
fn a_state_with_a_server_stays_and_without_one_it_moves() {
    let state = TestState::quick();
    let kernel = state.publish("lab-1", 300_000);
    let Some(disk) = other_disk(&state) else {
        return skip("a move to another disk", "/dev/shm is none");
    };
    let to = disk.path().join("state");
    let (from, to) = (state.dir(), to.to_str().unwrap().to_owned());
    let mut server = TestServer::start(&state);
    let line = state.fails(&["state", "move", &to]);
    assert!(line.contains("nothing was changed") && line.contains(" serve "), "{line}");
    assert!(!Path::new(&to).exists());
    assert_eq!(server.get(&state, "/boot/ipxe").status, 302);
    server.terminate();
    assert!(server.wait().success());
    // A server of an earlier version holds nothing but the log of events.
    let log = fs::File::options().write(true).open(from.join("store/commit.log")).unwrap();
    rustix::fs::flock(&log, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let line = state.fails(&["state", "move", &to]);
    assert!(line.contains("nothing was changed"), "{line}");
    drop(log);

    let before = ["generations", "lab-1"];
    let before = state.json(&before);
    let config = from.join("farmgate.toml");
    let text = fs::read_to_string(&config).unwrap();
    let admin = format!("[listen]\nadmin = \"{}/admin.sock\"\n", from.display());
    fs::write(&config, text.replace("[listen]\n", &admin)).unwrap();
    let done = state.json(&["state", "move", &to]);
    assert_eq!((&done["copied"], &done["to"]), (&true.into(), &to.clone().into()));
    let named = done["named_in"].as_array().unwrap().first().unwrap();
    assert_eq!(named["file"], format!("{to}/farmgate.toml"));
    assert_eq!(named["lines"].as_array().unwrap().len(), 1);
    // Where it was, nothing is left but word of it.
    let left: Vec<_> = fs::read_dir(&from).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["moved"]);
    for args in [&["status"][..], &["serve", "--check"], &["state", "move", &to]] {
        let line = state.fails(args);
        assert!(line.contains(&format!("to {to}")), "{line}");
    }
    // Nor can another state be made there by mistake.
    let line = state.fails(&["init", "--url", "https://127.0.0.1:8443"]);
    assert!(line.contains("not empty"), "{line}");
    let moved = TestState::at(disk);
    assert_eq!(moved.json(&["generations", "lab-1"]), before);
    let toml = moved.dir().join("farmgate.toml");
    fs::write(&toml, text).unwrap();
    let server = TestServer::start(&moved);
    let location = server.get(&moved, "/boot/ipxe").header("location").unwrap().to_owned();
    assert_eq!(server.get(&moved, &location.replace("boot.ipxe", "vmlinuz")).body, kernel);
    moved.ok(&["gateway", "add", "lab-2"]);
}

#[test]
fn whoever_kills_a_move_runs_it_again() {
    let state = TestState::quick();
    state.publish("lab-1", 20_000_000);
    let Some(disk) = other_disk(&state) else {
        return skip("a killed move to another disk", "/dev/shm is none");
    };
    let before = state.json(&["generations", "lab-1"]);
    let to = disk.path().join("state");
    let mut done = false;
    for nth in 0..12u64 {
        let mut command = Command::new(BIN);
        command.arg("--state").arg(state.dir()).args(["state", "move"]).arg(&to);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(8 * nth * nth));
        let _ = child.kill();
        done |= child.wait().unwrap().success();
        let is_state = |dir: &Path| dir.join("format").exists();
        assert!(!(is_state(&state.dir()) && is_state(&to)), "there are two");
        if done {
            break;
        }
    }
    if !done {
        state.run(&["state", "move", to.to_str().unwrap()]);
    }
    let moved = TestState::at(disk);
    assert_eq!(moved.json(&["generations", "lab-1"]), before);
    moved.ok(&["get", "lab-1", "1", "vmlinuz", "-o", moved.dir().join("x").to_str().unwrap()]);
}

#[test]
fn root_moves_what_belongs_to_the_servers_user() {
    if !is_root() {
        return;
    }
    let state = nobodys_state();
    state.ok(&["gateway", "add", "lab-1"]);
    state.publish("lab-1", 1000);
    let Some(disk) = other_disk(&state) else {
        return skip("root moves another user's state", "/dev/shm is none");
    };
    let facts = |dir: &Path| {
        ["", "pki", "pki/ca.key", "pki/server.key", "format", "gateways/lab-1", "store/blobs"].map(
            |path| {
                let facts = fs::symlink_metadata(dir.join(path)).unwrap();
                (path, facts.uid(), facts.gid(), facts.mode() & 0o777)
            },
        )
    };
    let before = facts(&state.dir());
    // A link out of it stays a link, and a file of root's stays root's.
    let secret = disk.path().join("secret");
    fs::write(&secret, "root's").unwrap();
    std::os::unix::fs::symlink(&secret, state.dir().join("gateways/lab-1/link")).unwrap();
    let to = disk.path().join("state");
    state.ok(&["state", "move", to.to_str().unwrap()]);
    assert_eq!(facts(&to), before);
    assert_eq!((before[0].1, before[2].1), (NOBODY, 0));
    assert!(to.join("gateways/lab-1/link").is_symlink());
    // Into a directory that another user could exchange, root does not go.
    let moved = TestState::at(disk);
    let theirs = TempDir::new().unwrap();
    std::os::unix::fs::chown(theirs.path(), Some(NOBODY), None).unwrap();
    let line = moved.fails(&["state", "move", theirs.path().join("x").to_str().unwrap()]);
    assert!(line.contains("can be changed by user"), "{line}");
    moved.ok(&["status"]);
}

#[test]
fn a_disk_without_room_stays_empty() {
    let state = TestState::quick();
    state.publish("lab-1", 3_000_000);
    let small = TempDir::new().unwrap();
    let at = small.path().join("disk");
    let Some(_disk) =
        crate::common::SmallDisk::mount(&at, "size=2m,mode=0755", "a move to a small disk")
    else {
        return;
    };
    let line = state.fails(&["state", "move", at.to_str().unwrap()]);
    assert!(line.contains("are free"), "{line}");
    assert_eq!(fs::read_dir(&at).unwrap().count(), 0);
    state.ok(&["status"]);
    drop(_disk);
    // A mount point is as good as any other empty directory.
    let Some(_disk) =
        crate::common::SmallDisk::mount(&at, "size=20m,mode=0755", "a move to a disk")
    else {
        return;
    };
    let done = state.json(&["state", "move", at.to_str().unwrap()]);
    assert_eq!(done["copied"], true);
}
