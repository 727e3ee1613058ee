use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use crate::common::BIN;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::request;

const SCRIPT: (&str, &[u8]) = ("boot.ipxe", b"#!ipxe\nboot\n");

fn current(state: &TestState) -> serde_json::Value {
    state.json(&["generations", "lab-1"])["current"].clone()
}

/// Fails to publish `folder`, and nothing has changed.
#[track_caller]
fn refused(state: &TestState, folder: &Path) -> String {
    let before = state.ok(&["generations", "lab-1"]);
    let error = state.fails(&["publish", "lab-1", folder.to_str().unwrap()]);
    assert_eq!(state.ok(&["generations", "lab-1"]), before);
    error
}

#[test]
fn generations_are_numbered_and_can_be_gone_back_to() {
    let state = TestState::with_gateway();
    assert!(state.ok(&["generations", "lab-1"]).contains("nothing is published"));
    // Where nothing was ever served, it used to speak of "the current one".
    assert!(state.fails(&["rollback", "lab-1"]).contains("nothing is published for gateway lab-1"));
    state.publish("lab-1", 10);
    assert!(
        state.fails(&["rollback", "lab-1"]).contains("never served any other generation than 1")
    );
    for _ in 0..2 {
        state.publish("lab-1", 10);
    }
    assert_eq!(current(&state), 3);
    state.ok(&["rollback", "lab-1"]);
    assert_eq!(current(&state), 2);
    state.ok(&["rollback", "lab-1", "1"]);
    assert_eq!(current(&state), 1);
    assert!(state.fails(&["rollback", "lab-1", "9"]).contains("no generation 9"));
    state.publish("lab-1", 10);
    assert_eq!(current(&state), 4);
}

/// What was live already used to become another generation, with a trial of its own.
#[test]
fn what_is_live_is_not_published_again() {
    let state = TestState::with_gateway();
    let folder = state.folder("f", &[SCRIPT, ("vmlinuz", b"one")]);
    let dir = folder.to_str().unwrap();
    assert!(state.ok(&["publish", "lab-1", dir]).contains("now gets generation 1"));
    let said = state.ok(&["publish", "lab-1", dir]);
    assert!(
        said.starts_with("unchanged: generation 1 of lab-1") && said.contains("--force"),
        "{said}"
    );
    assert_eq!(current(&state), 1);
    assert!(state.ok(&["publish", "--force", "lab-1", dir]).contains("now gets generation 2"));
    // What was gone back from is not live.
    state.folder("f", &[("vmlinuz", b"two")]);
    state.ok(&["publish", "lab-1", dir]);
    state.ok(&["rollback", "lab-1", "1"]);
    assert!(state.ok(&["publish", "lab-1", dir]).contains("now gets generation 4"));
}

/// A trial that came to nothing can be repeated: the fault may have been elsewhere.
#[test]
fn what_was_given_up_is_published_again() {
    let state = TestState::quick();
    let folder = state.folder("f", &[SCRIPT, ("vmlinuz", b"one")]);
    let dir = folder.to_str().unwrap();
    state.ok(&["publish", "lab-1", dir]);
    let server = TestServer::start(&state);
    for _ in 0..3 {
        assert_eq!(server.get(&state, "/boot/ipxe").status, 302);
    }
    assert!(state.ok(&["publish", "lab-1", dir]).contains("now gets generation 2"));
    assert!(state.ok(&["publish", "lab-1", dir]).starts_with("unchanged"));
}

#[test]
fn a_slip_in_a_name_is_answered_with_the_name() {
    let state = TestState::with_gateway();
    state.ok(&["gateway", "add", "basement"]);
    let folder = state.folder("f", &[SCRIPT]);
    let error = state.fails(&["publish", "lab1", folder.to_str().unwrap()]);
    assert!(error.contains("there is no gateway lab1, but lab-1"), "{error}");
    assert!(state.fails(&["status", "bsaement"]).contains("but basement"));
    let error = state.fails(&["rollback", "elsewhere"]);
    assert!(error.contains("there is no gateway elsewhere; `farmgate gateway list`"), "{error}");
}

#[test]
fn a_generation_whose_bytes_are_gone_is_not_gone_back_to() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 10);
    state.publish("lab-1", 20);
    let blobs = state.dir().join("store/blobs");
    let kernel = walk(&blobs).into_iter().find(|p| fs::metadata(p).unwrap().len() == 10).unwrap();
    fs::remove_file(kernel).unwrap();
    let error = state.fails(&["rollback", "lab-1"]);
    assert!(error.contains("because of vmlinuz") && error.contains("is missing"), "{error}");
    assert_eq!(current(&state), 2);
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] })
        .collect()
}

#[test]
fn a_folder_without_a_boot_script_is_refused() {
    let state = TestState::with_gateway();
    let folder = state.folder("f", &[("vmlinuz", b"x")]);
    assert!(refused(&state, &folder).contains("boot.ipxe"));
    for not_a_script in ["", "#!ipxe", "#!/bin/sh\n", "\u{feff}#!ipxe\n", "#!ipxeX\n"] {
        fs::write(folder.join("boot.ipxe"), not_a_script).unwrap();
        assert!(refused(&state, &folder).contains("#!ipxe"), "{not_a_script:?}");
    }
    fs::write(folder.join("boot.ipxe"), "#!ipxe\nboot").unwrap();
    state.ok(&["publish", "lab-1", folder.to_str().unwrap()]);
    let nowhere = folder.join("nowhere");
    assert!(refused(&state, &nowhere).contains("nowhere"));
}

#[test]
fn symbolic_links_stay_inside() {
    let state = TestState::with_gateway();
    let folder = state.folder("f", &[SCRIPT, ("v6/vmlinuz", b"six")]);
    let secret = state.folder("outside", &[("secret", b"s3cret")]).join("secret");
    symlink("v6/vmlinuz", folder.join("vmlinuz")).unwrap();
    state.ok(&["publish", "lab-1", folder.to_str().unwrap()]);
    let server = TestServer::start(&state);
    assert_eq!(server.get(&state, "/files/vmlinuz").body, b"six");

    let absolute = secret.to_str().unwrap();
    for target in ["../outside/secret", "../outside", absolute, "/etc/passwd", "nowhere", "loop"] {
        let link = folder.join("loop");
        symlink(target, &link).unwrap();
        let error = refused(&state, &folder);
        assert!(error.contains("loop"), "{target}: {error}");
        fs::remove_file(&link).unwrap();
    }
    assert!(
        walk(&state.dir().join("store/blobs")).iter().all(|b| fs::read(b).unwrap() != b"s3cret")
    );
}

#[test]
fn hidden_files_and_odd_ones_are_not_published() {
    let state = TestState::with_gateway();
    let folder = state.folder("f", &[SCRIPT, (".git/config", b"token"), (".env", b"x")]);
    state.ok(&["publish", "lab-1", folder.to_str().unwrap()]);
    assert_eq!(state.json(&["generations", "lab-1"])["generations"][0]["files"], 1);

    fs::write(folder.join("a\nb"), "x").unwrap();
    assert!(refused(&state, &folder).contains("rename it"));
    fs::remove_file(folder.join("a\nb")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
    assert!(refused(&state, &folder).contains("is not a file"));
    drop(socket);
}

#[test]
fn an_unreadable_file_is_named() {
    let state = TestState::with_gateway();
    let folder = state.folder("f", &[SCRIPT, ("initrd.img", b"x")]);
    fs::set_permissions(folder.join("initrd.img"), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(folder.join("initrd.img")).is_ok() {
        // Root reads everything; give the state to somebody who does not.
        let nobody = 65534;
        let chown =
            |path: &Path| std::os::unix::fs::chown(path, Some(nobody), Some(nobody)).unwrap();
        let mut paths = vec![state.dir(), state.dir().parent().unwrap().to_owned()];
        while let Some(path) = paths.pop() {
            chown(&path);
            if path.is_dir() && path.starts_with(state.dir()) {
                paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        // Not every directory on the way to the program need be open to nobody.
        let program = state.dir().parent().unwrap().join("farmgate");
        // Not by this process: a file that it writes would be inherited by what other tests
        // start meanwhile, and could not be run.
        assert!(Command::new("cp").arg(BIN).arg(&program).status().unwrap().success());
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program)
            .arg("--state")
            .arg(state.dir())
            .args(["publish", "lab-1"])
            .arg(&folder)
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("initrd.img") && error.contains("ermission"), "{error}");
    } else {
        assert!(refused(&state, &folder).contains("initrd.img"));
    }
    fs::set_permissions(folder.join("initrd.img"), fs::Permissions::from_mode(0o644)).unwrap();
    state.ok(&["publish", "lab-1", folder.to_str().unwrap()]);
}

#[test]
fn a_folder_that_changes_while_it_is_read_is_not_published() {
    let state = TestState::with_gateway();
    let big = vec![7; 32 * 1024 * 1024];
    let folder = state.folder("f", &[SCRIPT, ("a-big", &big), ("b-big", &big)]);
    let mut child = Command::new(BIN)
        .arg("--state")
        .arg(state.dir())
        .args(["publish", "lab-1"])
        .arg(&folder)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut writes = 0_u32;
    while child.try_wait().unwrap().is_none() {
        fs::write(folder.join("z-late"), writes.to_string()).unwrap();
        writes += 1;
    }
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "after {writes} writes: {error}");
    assert!(error.contains("changed while it was read"), "{error}");
    assert_eq!(current(&state), serde_json::Value::Null);
    state.ok(&["publish", "lab-1", folder.to_str().unwrap()]);
}

#[test]
fn a_full_disk_loses_nothing() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 100);
    let big = vec![1; 3 * 1024 * 1024];
    let folder = state.folder("f", &[SCRIPT, ("vmlinuz", &big)]);
    // The kernel's own limit on file size stands in for the disk's: the same
    // failing write, without root and without filling anything.
    let script = r#"trap '' XFSZ; ulimit -f 1024; exec "$0" --state "$1" publish lab-1 "$2""#;
    let output = Command::new("bash")
        .args(["-c", script, BIN])
        .arg(state.dir())
        .arg(&folder)
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("cannot store") && error.contains("vmlinuz"), "{error}");
    assert_eq!(current(&state), 1);
    let leftovers = walk(&state.dir().join("store"));
    assert!(leftovers.iter().all(|path| fs::metadata(path).unwrap().len() < 1024 * 1024));
    state.ok(&["publish", "lab-1", folder.to_str().unwrap()]);
    assert_eq!(current(&state), 2);
}

#[test]
fn whatever_kills_a_publisher_the_old_or_the_new_generation_is_served() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 100);
    let folder = state.folder("f", &[SCRIPT, ("vmlinuz", &vec![9; 2 * 1024 * 1024])]);
    let mut last = 1;
    for round in 0..30_u64 {
        let mut child = Command::new(BIN)
            .arg("--state")
            .arg(state.dir())
            .args(["publish", "--force", "lab-1"])
            .arg(&folder)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_micros(round * 1500));
        let _ = child.kill();
        let published = child.wait().unwrap().success();
        let now = current(&state).as_u64().unwrap();
        assert!(now >= last, "went back from {last} to {now}");
        assert!(!published || now > last, "said that it published, but {now} is current");
        last = now;
    }
    let server = TestServer::start(&state);
    let reply = server.get(&state, "/files/vmlinuz");
    assert!(reply.body.len() == 100 || reply.body == vec![9; 2 * 1024 * 1024]);
}

#[test]
fn events_of_a_newer_farmgate_stop_commands_and_not_boots() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 100);
    let credentials = state.credentials("lab-1");
    let events = fs::read_dir(state.dir().join("store/gateways")).unwrap().next().unwrap().unwrap();
    let newer = events.path().join("ffffffff-ffff-7fff-bfff-ffffffffffff.json");
    fs::write(&newer, r#"{"format": 3, "kind": "teleported"}"#).unwrap();
    assert!(state.fails(&["generations", "lab-1"]).contains("newer farmgate"));
    let server = TestServer::start(&state);
    let stream = server.tls(&state, Some(credentials));
    assert_eq!(request(stream, "GET", "/files/vmlinuz", "").unwrap().status, 200);
    server.wait_for_log("newer farmgate");
    fs::remove_file(newer).unwrap();
    state.ok(&["generations", "lab-1"]);
}

/// The script stays as it was reviewed; what differs between gateways comes before it.
#[test]
fn variables_are_settings_of_the_script() {
    let state = TestState::with_gateway();
    let script: (&str, &[u8]) = ("boot.ipxe", b"#!ipxe\necho ${console} ${disk}\nreboot\n");
    let folder = state.folder("f", &[script]);
    let dir = folder.to_str().unwrap();
    let publish = |variables: &[&str]| {
        let set = variables.iter().flat_map(|variable| ["--set", variable]);
        let args: Vec<&str> = ["publish", "lab-1", dir].into_iter().chain(set).collect();
        let output = state.run(&args);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    };
    let (said, warned) = publish(&["console=ttyS0,115200 quiet", "disk="]);
    assert!(said.contains("now gets generation 1") && warned.is_empty(), "{said}{warned}");
    let server = TestServer::start(&state);
    assert_eq!(server.get(&state, "/boot/ipxe").status, 302);
    let served = server.get(&state, "/g/1/boot.ipxe").text();
    let end = "set console ttyS0,115200 quiet ||\nset disk  ||\n#!ipxe\necho ${console} ${disk}\n\
               reboot\n";
    assert!(served.ends_with(end), "{served}");

    // A changed value is a change; the same ones are none.
    let (said, _) = publish(&["disk=", "console=ttyS0,115200 quiet"]);
    assert!(said.starts_with("unchanged: generation 1"), "{said}");
    let (said, warned) = publish(&["disk=sda"]);
    assert!(said.contains("now gets generation 2"), "{said}");
    assert!(warned.contains("FG030 nothing sets `console`"), "{warned}");
    let (said, warned) = publish(&["disk=sda", "console=tty0", "consle=tty1"]);
    assert!(said.contains("now gets generation 3"), "{said}");
    assert!(warned.contains("FG037 boot.ipxe does not use the variable `consle`"), "{warned}");
    let (said, _) = publish(&[]);
    assert!(said.contains("now gets generation 4"), "{said}");

    for (wrong, why) in [
        ("disk=a\nchain http://evil/", "control character"),
        ("disk=${ip}", "name of a setting"),
        ("disk=a || shell", "before the word `||`"),
        ("generation=9", "farmgate's own"),
        ("trust=00", "iPXE's"),
        ("disk", "NAME=VALUE"),
    ] {
        let output = state.run(&["publish", "lab-1", dir, "--set", wrong]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && error.contains(why), "{wrong}: {error}");
    }
    let twice = state.fails(&["publish", "lab-1", dir, "--set", "disk=a", "--set", "disk=b"]);
    assert!(twice.contains("given twice"), "{twice}");
    assert_eq!(current(&state), 4);
}
