use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use crate::common::TestServer;
use crate::common::TestState;
use crate::common::setting_path;

/// Gives a gateway a generation with a template of secrets.
fn publish(state: &TestState, gateway: &str) {
    let files = [("boot.ipxe", &b"#!ipxe\nboot\n"[..]), ("secrets", b"FOR=$gateway")];
    let folder = state.folder(&format!("published-{gateway}"), &files);
    state.ok(&["publish", gateway, folder.to_str().unwrap()]);
}

/// The path of a new lease.
#[track_caller]
fn lease(server: &TestServer, state: &TestState, gateway: &str) -> String {
    let script = server.get_as(state, gateway, "/g/1/boot.ipxe");
    assert_eq!(script.status, 200);
    setting_path(&script.text(), "secrets_url").unwrap()
}

fn count_files(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { count_files(&path) } else { 1 }).sum()
}

/// A file system of its own, for as long as this lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where that is not allowed: it is said so, past the capture of the test harness.
    fn mount(at: &Path, options: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at);
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Self(at.to_owned()));
        }
        let mut stderr = std::io::stderr().lock();
        let _ = writeln!(stderr, "NOT TESTED: leases on a full disk: only root can mount a tmpfs");
        None
    }

    /// Leaves no byte of room.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = File::options().create(true).append(true).open(&path).unwrap();
        for size in [64 * 1024, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Also where a server that a failed test left is still in there.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// A minute of requests for a boot script used to leave 53,496 leases, 435 MB.
#[test]
fn a_gateway_that_asks_for_its_script_in_a_circle_leaves_few() {
    let state = TestState::quick();
    state.ok(&["gateway", "add", "lab-2"]);
    publish(&state, "lab-1");
    publish(&state, "lab-2");
    let server = TestServer::start(&state);
    let other = lease(&server, &state, "lab-2");
    let paths: Vec<_> = (0..40).map(|_| lease(&server, &state, "lab-1")).collect();
    assert!(count_files(&state.dir().join("leases")) <= 16);
    // The last script is the one that boots, and what another gateway has is its own.
    for (path, secrets) in [(&paths[39], "FOR=lab-1"), (&other, "FOR=lab-2")] {
        let reply = server.get_unix(path, "");
        assert_eq!((reply.status, reply.text()), (200, secrets.to_owned()));
    }
    assert_eq!(server.get_unix(&paths[0], "").status, 404);
}

/// Other gateways used to get 500 for their boot script, and what was over could not be cleared:
/// that too needed room.
#[test]
fn a_full_disk_keeps_no_gateway_from_its_secrets() {
    let mut disk = None;
    let state =
        TestState::prepared_with(&[], |dir| disk = SmallDisk::mount(dir, "size=8m,mode=711"));
    let Some(disk) = disk else { return };
    for gateway in ["lab-1", "lab-2", "lab-3"] {
        state.ok(&["gateway", "add", gateway]);
        publish(&state, gateway);
    }
    let server = TestServer::start(&state);
    let before = [(); 2].map(|()| lease(&server, &state, "lab-1"));
    let ballast = disk.fill();

    // Two that the disk has, one of a gateway that it has some of, and one of another.
    let in_memory = [lease(&server, &state, "lab-1"), lease(&server, &state, "lab-2")];
    assert_eq!(server.get_as(&state, "lab-2", "/boot/ipxe").status, 302);
    for path in [&before[0], &in_memory[0], &in_memory[1]] {
        assert_eq!([(); 2].map(|()| server.get_unix(path, "").status), [200, 404], "{path}");
    }
    // A lease that was used up has left room.
    disk.fill();
    let last = lease(&server, &state, "lab-2");
    drop(server);

    // What was read is used up for good, what the disk has outlasts the server, and what was in
    // memory alone is gone with it.
    let server = TestServer::start(&state);
    for (path, status) in [(&before[0], 404), (&before[1], 200), (&last, 404)] {
        assert_eq!(server.get_unix(path, "").status, status, "{path}");
    }
    // With room, the disk has them again.
    std::fs::remove_file(ballast).unwrap();
    let path = lease(&server, &state, "lab-3");
    drop(server);
    let server = TestServer::start(&state);
    assert_eq!(server.get_unix(&path, "").text(), "FOR=lab-3");
    drop(server);
    drop(disk);
}
