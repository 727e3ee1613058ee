//! One gateway, or one command, must never keep the others from booting.

use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use rustix::fs::FlockOperation;
use rustix::process::Signal;

use crate::common::BIN;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::nginx_headers;
use crate::common::send;

/// A state with two gateways that can boot, and an admin listener.
fn two_gateways() -> TestState {
    let state = TestState::quick();
    state.ok(&["gateway", "add", "lab-2"]);
    state.publish("lab-1", 10);
    state.publish("lab-2", 10);
    state.set_listen(&format!("admin = \"{}\"", state.dir().join("admin.sock").display()));
    state
}

/// Where a gateway's events are.
fn events(state: &TestState, gateway: &str) -> PathBuf {
    let gateways = std::fs::read_dir(state.dir().join("store/gateways")).unwrap();
    let mut homes = gateways.map(|entry| entry.unwrap().path());
    let of_it = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.strip_prefix(gateway)
            .is_some_and(|rest| rest.starts_with('.') || rest.starts_with('-'))
    };
    homes.find(of_it).unwrap()
}

fn count(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).unwrap();
    entries
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "json"))
        .count()
}

/// Takes a lock as another process would.
fn hold(path: &Path) -> File {
    let file = File::options().append(true).open(path).unwrap();
    rustix::fs::flock(&file, FlockOperation::LockExclusive).unwrap();
    file
}

/// 560 requests behind one lock used to take all threads that there are, for as long as the
/// lock was held, also when the requests had been given up: nobody booted, and `/healthz` was
/// silent.
#[test]
fn a_gateway_that_is_locked_out_keeps_nobody_else_from_booting() {
    let state = two_gateways();
    let server = TestServer::start(&state);
    let lab_1 = nginx_headers(&state.credentials("lab-1").0);
    let lab_2 = nginx_headers(&state.credentials("lab-2").0);
    let boot = |headers: &str| server.get_unix("/boot/ipxe", headers);
    assert_eq!(boot(&lab_1).status, 302);

    let home = events(&state, "lab-1");
    let lock = hold(&home.join("lock"));
    let before = count(&home);
    let mut flood = Vec::new();
    for _ in 0..600 {
        let stream = UnixStream::connect(&server.unix).unwrap();
        send(&stream, "GET", "/boot/ipxe", &lab_1).unwrap();
        flood.push(stream);
    }
    for _ in 0..2 {
        assert_eq!(boot(&lab_2).status, 302);
        assert_eq!(server.get_unix("/g/1/vmlinuz", &lab_2).status, 200);
        // It reads, and so has to wait for no writer.
        assert_eq!(server.get_unix("/g/1/vmlinuz", &lab_1).status, 200);
        assert_eq!(state.admin("/healthz").status, 200);
        assert_eq!(state.admin("/metrics").status, 200);
        let told = boot(&lab_1);
        assert_eq!((told.status, told.header("retry-after")), (503, Some("5")));
        // The second time nobody is left who asked.
        flood.clear();
    }
    drop(lock);
    assert_eq!(boot(&lab_1).status, 302);
    assert_eq!(count(&home), before + 1, "a boot that was given up counts as one");
}

/// A command that was stopped used to keep all others waiting without a word, and a server from
/// starting.
#[test]
fn a_command_that_was_stopped_is_named_and_keeps_no_server_from_starting() {
    let state = two_gateways();
    // It has been started before, and so has its key.
    let server = TestServer::start(&state);
    assert_eq!(state.admin("/healthz").status, 200);
    drop(server);
    // It holds the lock of the state, and waits for that of the gateway.
    let gateway = hold(&events(&state, "lab-1").join("lock"));
    let mut publish = Command::new(BIN);
    publish.arg("--state").arg(state.dir()).args(["publish", "--force", "lab-1"]);
    publish.arg(state.folder("published", &[]));
    let mut publish = publish.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&publish);
    // It says so when it has waited for a moment.
    let mut said = String::new();
    let mut stderr = publish.stderr.take().unwrap();
    while !said.contains("waiting:") {
        let mut bytes = [0; 1024];
        let read = stderr.read(&mut bytes).unwrap();
        assert!(read > 0, "it does not wait: {said}");
        said += &String::from_utf8_lossy(&bytes[..read]);
    }
    rustix::process::kill_process(pid, Signal::STOP).unwrap();

    let server = TestServer::start(&state);
    let lab_2 = nginx_headers(&state.credentials("lab-2").0);
    assert_eq!(server.get_unix("/boot/ipxe", &lab_2).status, 302);
    assert_eq!(state.admin("/readyz").status, 200);
    let line = state.fails(&["--quiet", "gateway", "add", "lab-3"]);
    let holder = format!("process {} (farmgate --state", publish.id());
    assert!(line.contains(&holder) && line.contains("kill -CONT"), "{line}");

    drop(gateway);
    rustix::process::kill_process(pid, Signal::CONT).unwrap();
    assert!(publish.wait().unwrap().success());
    state.ok(&["gateway", "add", "lab-3"]);
    assert_eq!(server.get_unix("/boot/ipxe", &lab_2).status, 302);
}
