//! The message of a git that failed, in a line for operators, with the way out. Pure.

use std::process::ExitStatus;

use crate::foreign::Foreign;

/// Parts of what git and ssh say in English, and what an operator can do about it.
const WAYS_OUT: &[(&str, &str)] = &[
    (
        "terminal prompts disabled",
        "the remote asks for a password: put it into the file that [sync] credentials names",
    ),
    (
        "Authentication failed",
        "the remote does not take the user name and password in [sync] credentials",
    ),
    (
        "HTTP Basic: Access denied",
        "the remote does not take the user name and password in [sync] credentials",
    ),
    ("Permission denied (", "the remote does not take the key that [sync] ssh-key names"),
    ("UNPROTECTED PRIVATE KEY", "chmod 600 the file that [sync] ssh-key names"),
    (
        "Host key verification failed",
        "the key of the remote's host is not known: compare it, and put it into [sync] known-hosts (ssh-keyscan)",
    ),
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "the remote's host has another key than in [sync] known-hosts: find out why",
    ),
    ("couldn't find remote ref", "the remote has no such branch: see [sync] branch"),
    (
        "Could not resolve host",
        "the remote's name cannot be resolved: see [sync] remote, and the network of the service (docs/sync.md)",
    ),
    (
        "Could not resolve hostname",
        "the remote's name cannot be resolved: see [sync] remote, and the network of the service (docs/sync.md)",
    ),
    ("SSL certificate problem", "the remote's certificate is not trusted: see [sync] ca"),
    (
        "server certificate verification failed",
        "the remote's certificate is not trusted: see [sync] ca",
    ),
    ("Operation too slow", "the remote does not answer"),
    ("File size limit exceeded", "the repository is larger than four times [sync] max-size"),
    (
        "invalid index-pack output",
        "the repository is larger than four times [sync] max-size, or git has no memory or disk",
    ),
    (
        "not found",
        "the remote has no such repository, or does not show it to us: see [sync] remote and credentials",
    ),
    (
        "does not appear to be a git repository",
        "the remote has no such repository: see [sync] remote",
    ),
    ("mismatched algorithms", "the repository's object format is not SHA-1"),
];

/// The signal that a program gets that writes more than it may.
const SIGXFSZ: i32 = 25;

/// The reason why git failed, from the end of its stderr.
pub(super) fn reason(said: &str, status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    let word = |line: &&str| {
        ["fatal:", "error:", "remote:"].iter().any(|prefix| line.starts_with(prefix))
            || line.contains("Permission denied")
    };
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    // The first is the cause; what follows are its consequences.
    let line = lines.iter().find(|line| word(line)).or(lines.last()).copied().unwrap_or_default();
    let line = Foreign::shorter(line, 200);
    let too_large = status.signal() == Some(SIGXFSZ) || status.code() == Some(128 + SIGXFSZ);
    let way_out = WAYS_OUT.iter().find(|(part, _)| said.contains(part)).map(|(_, way)| *way);
    let way_out = if too_large {
        Some("the repository is larger than four times [sync] max-size")
    } else {
        way_out
    };
    match (way_out, line.is_empty()) {
        (Some(way_out), false) => format!("{way_out} ({line})"),
        (Some(way_out), true) => way_out.to_owned(),
        (None, false) => line.to_string(),
        (None, true) => format!("git ended with {status} and said nothing"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_cause_comes_with_the_way_out() {
        let status = ExitStatus::from_raw(128 << 8);
        let said = "fatal: could not read Username for 'https://a': terminal prompts disabled\n";
        assert!(reason(said, status).starts_with("the remote asks for a password: put it into"));
        let said = "git@a: Permission denied (publickey).\r\nfatal: Could not read from remote repository.\n\nPlease make sure\n";
        assert_eq!(
            reason(said, status),
            "the remote does not take the key that [sync] ssh-key names (git@a: Permission denied (publickey).)"
        );
        assert_eq!(reason("fatal: something\nmore\n", status), "fatal: something");
        assert_eq!(reason("", status), "git ended with exit status: 128 and said nothing");
        let large = reason("", ExitStatus::from_raw(SIGXFSZ));
        assert!(large.contains("max-size"), "{large}");
    }

    proptest! {
        #[test]
        fn what_a_server_says_is_harmless_and_short(said in any::<String>()) {
            let text = reason(&format!("remote: {said}"), ExitStatus::from_raw(256));
            prop_assert!(!text.contains(char::is_control) && text.chars().count() < 450);
        }
    }
}
