//! Commands on a terminal, which `script` makes.

use std::io::Write;
use std::process::Command;
use std::process::Stdio;

/// A shell command on a terminal, whose other end are pipes.
pub(crate) fn on_terminal(command: &str) -> Command {
    let mut script = Command::new("script");
    script
        .args(["--quiet", "--return", "--command", command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    script
}

/// The status and the screen of a command that gets this answer.
pub(crate) fn answered(mut command: Command, answer: &str) -> (Option<i32>, String) {
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}
