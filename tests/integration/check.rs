//! `farmgate check`, and the checks within `publish`.

use std::path::Path;
use std::process::Command;
use std::process::Output;

use crate::common::BIN;
use crate::common::TestState;

const GOOD: &str = "#!ipxe\nkernel vmlinuz panic=30\nboot || reboot\n";
const BAD: &str = "#!ipxe\nkernel vmlinuz\ninitrd missing.img || goto nowhere\nboot || reboot\n";

/// Runs `farmgate check` in a directory, without any state.
fn check(dir: &Path, args: &[&str]) -> Output {
    Command::new(BIN)
        .current_dir(dir)
        .args(["--state", "/nonexistent/state", "check"])
        .args(args)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_good_folder_passes_without_a_state() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("boot.ipxe"), GOOD).unwrap();
    std::fs::write(dir.path().join("vmlinuz"), "x").unwrap();
    let output = check(dir.path(), &["."]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), "1 file checked, nothing found\n");
    assert_eq!(text(&output.stderr), "");
    assert_eq!(json(&check(dir.path(), &["--json", "."])), serde_json::json!([]));
}

#[test]
fn findings_say_where_what_why_and_how_to_mend() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("boot.ipxe"), BAD).unwrap();
    std::fs::write(dir.path().join("vmlinuz"), "x").unwrap();
    let output = check(dir.path(), &["."]);
    assert_eq!(output.status.code(), Some(1));
    let shown = text(&output.stdout);
    for part in [
        "[FG020] Error: there is no label `nowhere`",
        "./boot.ipxe:3:28",
        "[FG040] Error: `missing.img` is not in the folder",
        "./boot.ipxe:3:8",
        "initrd missing.img || goto nowhere",
        "[FG044] Warning",
        "404",
        "correct the name",
    ] {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }
    assert!(!shown.contains('\x1b'), "colours in a pipe");
    assert_eq!(text(&output.stderr).lines().count(), 1);

    let output = check(dir.path(), &["--json", ".", "boot.ipxe"]);
    assert_eq!(output.status.code(), Some(1));
    let findings = json(&output);
    let of = |file: &str| -> Vec<(u64, String)> {
        findings
            .as_array()
            .unwrap()
            .iter()
            .filter(|finding| finding["file"] == file)
            .map(|f| (f["line"].as_u64().unwrap(), f["code"].as_str().unwrap().to_owned()))
            .collect()
    };
    let codes = |list: &[(u64, &str)]| -> Vec<(u64, String)> {
        list.iter().map(|(line, code)| (*line, (*code).to_owned())).collect()
    };
    assert_eq!(of("./boot.ipxe"), codes(&[(2, "FG044"), (3, "FG040"), (3, "FG020")]));
    // A file alone is not judged by what lies beside it.
    assert_eq!(of("boot.ipxe"), codes(&[(2, "FG044"), (3, "FG020")]));
    let first = &findings[1];
    assert_eq!(first["kind"], "judgement");
    assert_eq!(first["severity"], "error");
    assert_eq!((&first["column"], &first["end"]["column"]), (&8.into(), &19.into()));
}

#[test]
fn syntax_is_told_from_judgement() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("judged.ipxe"), "#!ipxe\nfrobnicate\nexit\n").unwrap();
    std::fs::write(dir.path().join("marked.ipxe"), "\u{feff}#!ipxe\nboot\n").unwrap();
    let output = check(dir.path(), &["--syntax", "judged.ipxe"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let output = check(dir.path(), &["--syntax", "judged.ipxe", "marked.ipxe"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("marked.ipxe:1:1"));
    assert!(text(&output.stdout).contains("byte order mark"));
}

#[test]
fn wrong_paths_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for (arg, part) in [("nowhere", "nowhere"), (".", "boot.ipxe")] {
        let output = check(dir.path(), &[arg]);
        assert_eq!(output.status.code(), Some(1));
        let error = text(&output.stderr);
        assert!(error.contains(part) && error.lines().count() == 1, "{error}");
    }
    assert_eq!(check(dir.path(), &[]).status.code(), Some(2));
}

#[test]
fn what_a_terminal_would_obey_is_not_printed() {
    let dir = tempfile::tempdir().unwrap();
    let script = b"#!ipxe\nfrob\x1b]0;owned\x07 \xff ${x\r\nreboot \x00\n";
    std::fs::write(dir.path().join("x.ipxe"), script).unwrap();
    for args in [&["x.ipxe"][..], &["--json", "x.ipxe"]] {
        let output = check(dir.path(), args);
        assert_eq!(output.status.code(), Some(1));
        let shown = text(&output.stdout);
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
    }
}

#[test]
fn errors_stop_a_publish_and_warnings_do_not() {
    let state = TestState::with_gateway();
    let folder = state.folder("f", &[("boot.ipxe", BAD.as_bytes()), ("vmlinuz", b"x")]);
    let dir = folder.to_str().unwrap();
    let error = state.fails(&["publish", "lab-1", dir]);
    let expected = format!(
        "farmgate: {dir}/boot.ipxe:3:8: FG040 `missing.img` is not in the folder \
         (farmgate check {dir} shows more)\n"
    );
    assert_eq!(error, expected);
    let generations = state.json(&["generations", "lab-1"]);
    assert_eq!(generations["generations"], serde_json::json!([]));

    state.folder("f", &[("boot.ipxe", b"#!ipxe\nkernel vmlinuz\nboot || reboot\n")]);
    let output = state.run(&["publish", "lab-1", dir]);
    assert_eq!(output.status.code(), Some(0));
    let log = text(&output.stderr);
    assert!(log.contains("boot.ipxe:2:8: FG044 "), "{log}");

    let silenced = b"#!ipxe\n# farmgate: allow FG044\nkernel vmlinuz\nboot || reboot\n";
    state.folder("f", &[("boot.ipxe", silenced)]);
    assert_eq!(text(&state.run(&["publish", "lab-1", dir]).stderr), "");
}

#[test]
fn a_generation_that_was_published_stays_when_the_next_one_is_refused() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 100);
    let folder = state.folder("f", &[("boot.ipxe", b"#!ipxe\nexit\n")]);
    let error = state.fails(&["publish", "lab-1", folder.to_str().unwrap()]);
    assert!(error.contains("boot.ipxe:2:1: FG023 "), "{error}");
    assert_eq!(state.json(&["generations", "lab-1"])["current"], 1);
}
