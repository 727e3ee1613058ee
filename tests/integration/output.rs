//! What the program prints, and to whom.

use std::fs;
use std::io::Read;
use std::io::pipe;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::process::Stdio;

use crate::common::BIN;
use crate::common::TestServer;
use crate::common::TestState;

/// `farmgate gateway list | head -0` used to end with `farmgate: Broken pipe (os error 32)`.
#[test]
fn nobody_is_told_that_nobody_reads() {
    let state = TestState::quick();
    state.publish("lab-1", 10);
    let script = state.folder("script", &[("boot.ipxe", b"#!ipxe\nexit\n")]);
    for args in [
        &["gateway", "list"][..],
        &["--json", "gateway", "show", "lab-1"],
        &["status"],
        &["generations", "lab-1"],
        // It would have failed otherwise.
        &["check", script.to_str().unwrap()],
        &["nginx-config"],
        &["completions", "bash"],
        &["man"],
    ] {
        let run = |stdout: Stdio| {
            let mut command = Command::new(BIN);
            command.arg("--state").arg(state.dir()).args(args).stdout(stdout);
            command.output().unwrap()
        };
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let output = run(writer.into());
        // As if SIGPIPE had ended it.
        assert_eq!(output.status.code(), Some(141), "{args:?}: {output:?}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("farmgate:"), "{output:?}");
        let read = run(Stdio::piped());
        assert!(!read.stdout.is_empty(), "{args:?} prints nothing: {read:?}");
    }
}

/// `journalctl -p warning` used to find nothing: all lines had the same priority.
#[test]
fn the_journal_learns_how_grave_each_line_is() {
    let state = TestState::quick();
    let run = |right: bool| {
        let (mut reader, writer) = pipe().unwrap();
        let file = fs::File::from(std::os::fd::OwnedFd::from(writer.try_clone().unwrap()));
        let metadata = file.metadata().unwrap();
        let inode = metadata.ino() + u64::from(!right);
        let mut command = Command::new(BIN);
        // It reads a certificate where there is none.
        command.arg("--state").arg(state.dir()).args(["-v", "gateway", "add", "lab-1"]);
        command.env("JOURNAL_STREAM", format!("{}:{inode}", metadata.dev())).stderr(writer);
        assert_eq!(command.status().unwrap().code(), Some(1));
        drop((file, command));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    };
    assert!(run(true).starts_with("<3>farmgate: "), "{}", run(true));
    // Inherited by somebody whose stderr leads elsewhere.
    assert!(run(false).starts_with("farmgate: "), "{}", run(false));
}

/// The same for what the server says.
#[test]
fn the_servers_lines_have_priorities() {
    let state = TestState::quick();
    let unix = state.dir().join("http.sock");
    // Its own stderr, whatever that is.
    let mut command = Command::new("sh");
    let script = "JOURNAL_STREAM=$(stat -L -c %d:%i /proc/$$/fd/2) exec \"$0\" \"$@\"";
    command.args(["-c", script, BIN, "--state"]).arg(state.dir());
    command.args(["serve", "--unix"]).arg(&unix);
    let server = TestServer::spawn(command, unix);
    let line = server.wait_for_log("listening: Unix socket");
    assert!(line.starts_with("<6>") && line.contains(" INFO "), "{line}");
    assert_eq!(server.get_unix("/boot/ipxe", "").status, 403);
    let line = server.wait_for_log("no client certificate");
    assert!(line.starts_with("<4>"), "{line}");
}

/// A process of the same user could read keys out of any command's memory, and a crash wrote them
/// to disk.
#[test]
fn memory_is_for_nobody_else() {
    let mut command = Command::new(BIN);
    // As long as nobody reads, it waits: the text is longer than the pipe.
    command.args(["completions", "powershell"]).stdout(Stdio::piped());
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return crate::common::skip(
                "who may read memory",
                "the program is in a private folder",
            );
        }
        Err(error) => panic!("{error}"),
    };
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 100]).unwrap();
    // What is not dumpable belongs to root (proc_pid(5)).
    let owner = fs::metadata(format!("/proc/{}/environ", child.id())).unwrap().uid();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(owner, 0);
}

/// Loki and Vector read these; before, they had to guess where a message ends.
#[test]
fn log_lines_can_be_read_by_programs() {
    let state = TestState::quick();
    state.publish("lab-1", 10);
    let server = TestServer::start_with(&state, &["--log-format", "json"]);
    assert_eq!(server.get(&state, "/boot/ipxe").status, 302);
    let line = server.wait_for_log("\"gateway\":\"lab-1\"");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    drop(server);
    let server = TestServer::start_with(&state, &["--log-format", "logfmt"]);
    assert_eq!(server.get(&state, "/boot/ipxe").status, 302);
    let line = server.wait_for_log(" gateway=lab-1");
    assert!(line.starts_with("ts=2") && line.contains(" level=info msg="), "{line}");
    assert!(!line.contains('\u{1b}'), "{line}");
    // The environment says it too, and a failure is a line of the same kind.
    let run = |format: &str| {
        let mut command = Command::new(BIN);
        command.env("FARMGATE_LOG_FORMAT", format).arg("--state").arg(state.dir());
        let output = command.args(["status", "no-such"]).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let line: serde_json::Value = serde_json::from_str(&run("json")).unwrap();
    assert!(line["message"].as_str().unwrap().contains("no gateway no-such"), "{line}");
    assert!(run("logfmt").contains("level=error msg=\"there is no gateway no-such"));
    assert!(run("text").starts_with("farmgate: there is no"));
}

/// What other Rust programs obey is obeyed here too; `FARMGATE_LOG` wins.
#[test]
fn rust_log_chooses_what_is_logged() {
    let state = TestState::quick();
    let failure = |levels: &[(&str, &str)]| {
        let mut command = Command::new(BIN);
        command.env_remove("FARMGATE_LOG").env_remove("RUST_LOG").envs(levels.iter().copied());
        command.env("FARMGATE_LOG_FORMAT", "logfmt").arg("--state").arg(state.dir());
        let output = command.args(["status", "no-such"]).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let logged = "level=error msg=\"there is no gateway no-such";
    assert!(failure(&[("RUST_LOG", "error")]).contains(logged));
    let both = [("RUST_LOG", "off"), ("FARMGATE_LOG", "error")];
    assert!(failure(&both).contains(logged));
    // Without a log, the reason is still there.
    assert!(failure(&[("RUST_LOG", "off")]).starts_with("farmgate: there is no gateway no-such"));
}

#[test]
fn help_that_nobody_reads_ends_silently() {
    for args in [&["--help"][..], &["gateway", "--help"], &["--version"]] {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let output = Command::new(BIN).args(args).stdout(writer).output().unwrap();
        assert!(output.stderr.is_empty(), "{args:?}: {output:?}");
    }
}

#[test]
fn an_error_shows_the_usage_of_its_own_command_and_what_was_probably_meant() {
    let state = TestState::quick();
    let stderr = |args: &[&str], status: i32| {
        let output = state.run(args);
        assert_eq!(output.status.code(), Some(status), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(stderr(&["publish", "lab-1"], 2).contains("Usage: farmgate publish "));
    assert!(stderr(&["init"], 2).contains("Usage: farmgate init "));
    assert!(stderr(&["gateway", "set", "lab-1"], 2).contains("Usage: farmgate gateway set "));
    assert!(stderr(&["gatway", "list"], 2).contains("'gateway'"));
    assert!(stderr(&["gateway", "shwo", "lab-1"], 2).contains("'show'"));
    assert!(stderr(&["status", "lab1"], 1).contains("lab-1"));
    assert!(stderr(&["check", "--explain", "FG01"], 1).contains("but FG0"));
    assert!(state.ok(&["check", "--explain", "fg010"]).starts_with("# FG010: unknown command"));
    assert!(state.ok(&["check", "--explain"]).lines().count() > 30);
}
