//! `farmgate check`, and the checks within `publish`.

use std::path::Path;
use std::process::Command;
use std::process::Output;

use crate::common::BIN;
use crate::common::TestState;
use crate::common::kernel;

const GOOD: &str = "#!ipxe\nkernel --timeout 9 vmlinuz panic=30\nboot || reboot\n";
const BAD: &str = "#!ipxe\nkernel --timeout 9 vmlinuz\ninitrd --timeout 9 missing.img || goto nowhere\nboot || reboot\n";

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
    std::fs::write(dir.path().join("vmlinuz"), kernel()).unwrap();
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
    std::fs::write(dir.path().join("vmlinuz"), kernel()).unwrap();
    let output = check(dir.path(), &["."]);
    assert_eq!(output.status.code(), Some(1));
    let shown = text(&output.stdout);
    for part in [
        "[FG020] Error: there is no label `nowhere`",
        "./boot.ipxe:3:40",
        "[FG040] Error: `missing.img` is not in the folder",
        "./boot.ipxe:3:20",
        "initrd --timeout 9 missing.img || goto nowhere",
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
    assert_eq!((&first["column"], &first["end"]["column"]), (&20.into(), &31.into()));
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
    let folder = state.folder("f", &[("boot.ipxe", BAD.as_bytes()), ("vmlinuz", &kernel())]);
    let dir = folder.to_str().unwrap();
    let error = state.fails(&["publish", "lab-1", dir]);
    let expected = format!(
        "farmgate: {dir}/boot.ipxe:3:20: FG040 `missing.img` is not in the folder \
         (farmgate check {dir} shows more)\n"
    );
    assert_eq!(error, expected);
    let generations = state.json(&["generations", "lab-1"]);
    assert_eq!(generations["generations"], serde_json::json!([]));

    state.folder("f", &[("boot.ipxe", b"#!ipxe\nkernel --timeout 9 vmlinuz\nboot || reboot\n")]);
    let output = state.run(&["publish", "lab-1", dir]);
    assert_eq!(output.status.code(), Some(0));
    // These used to be lines of a log, with time and level.
    let said = text(&output.stderr);
    assert!(said.starts_with(&format!("warning: {dir}/boot.ipxe:2:20: FG044 ")), "{said}");
    assert_eq!(said.lines().count(), 1);
    assert_eq!(text(&state.run(&["-q", "publish", "--force", "lab-1", dir]).stderr), "");

    let silenced = b"#!ipxe\n# farmgate: allow FG044\nkernel --timeout 9 vmlinuz\nboot || reboot\n";
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

/// A machine used to jump into what Git LFS had left in the kernel's place, and stood still.
#[test]
fn what_is_no_kernel_is_not_published() {
    let state = TestState::with_gateway();
    let files = [("boot.ipxe", GOOD.as_bytes()), ("vmlinuz", &kernel())];
    let folder = state.folder("f", &files);
    let dir = folder.to_str().unwrap();
    state.ok(&["publish", "lab-1", dir]);
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 14149568\n";
    for (content, what) in [(&pointer[..], "a Git LFS pointer"), (&kernel()[..1500], "cut short")] {
        state.folder("f", &[("vmlinuz", content)]);
        let error = state.fails(&["publish", "lab-1", dir]);
        assert!(error.contains("FG047") && error.contains(what), "{error}");
        let output = check(&folder, &["."]);
        assert!(text(&output.stdout).contains(what), "{output:?}");
    }
    assert_eq!(state.json(&["generations", "lab-1"])["current"], 1);
}

/// The page of FG035 has templates for examples. What looks like a name may be half a password.
#[test]
fn a_template_of_secrets_is_looked_at_and_not_shown() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/checks/FG035.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks = page.split("```secrets\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let [bad, good] = blocks.collect::<Vec<_>>()[..] else { panic!("two examples") };
    let state = TestState::with_gateway();
    let files =
        [("boot.ipxe", GOOD.as_bytes()), ("vmlinuz", &kernel()), ("secrets", bad.as_bytes())];
    let folder = state.folder("f", &files);
    let dir = folder.to_str().unwrap();
    let output = check(&folder, &["."]);
    assert_eq!(output.status.code(), Some(0));
    let shown = text(&output.stdout);
    for part in
        ["./secrets:1:6", "./secrets:2:13", "[FG035] Warning", "2 files checked, 2 findings"]
    {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }
    let output = state.run(&["publish", "lab-1", dir]);
    let said = text(&output.stderr);
    assert!(said.contains("secrets:2:13: FG035") && output.status.success(), "{said}");
    for text in [&shown, &said] {
        assert!(!text.contains("two") && !text.contains("gatewy"), "{text}");
    }
    std::fs::write(folder.join("secrets"), good).unwrap();
    assert_eq!(text(&check(&folder, &["."]).stdout), "2 files checked, nothing found\n");
}

/// Secrets that are fetched where there are none.
#[test]
fn a_template_elsewhere_is_one_too() {
    let state = TestState::with_gateway();
    let script = b"#!ipxe\nkernel --timeout 9 vmlinuz panic=30\ninitrd --timeout 9 ${secrets_url} /s\nboot\n";
    let folder = state.folder("f", &[("boot.ipxe", script), ("vmlinuz", &kernel())]);
    let publish =
        || text(&state.run(&["publish", "--force", "lab-1", folder.to_str().unwrap()]).stderr);
    assert!(publish().contains("boot.ipxe:3:20: FG034"), "{}", publish());
    crate::common::edit(&state.dir().join("farmgate.toml"), |text| {
        format!("{text}\n[secrets]\ndir = \"/run/secrets\"\n")
    });
    assert_eq!(publish(), "");
}

#[test]
fn configurations_are_counted_and_their_errors_shown() {
    let state = TestState::new();
    let file = state.dir().join("farmgate.toml");
    let path = file.to_str().unwrap();
    // It used to say "0 files checked".
    assert_eq!(state.ok(&["check", path]), "1 file checked, nothing found\n");
    std::fs::write(&file, "url = \"https://a\"\n[listen]\ntsl = \"x\"\n").unwrap();
    for args in [&["check", path][..], &["status"]] {
        let output = state.run(args);
        assert_eq!(output.status.code(), Some(1));
        let error = text(&output.stderr);
        let lines: Vec<&str> = error.lines().collect();
        assert!(
            lines[0].starts_with("farmgate: cannot use ") && lines[0].contains(path),
            "{error}"
        );
        // They used to stand on one line, and the caret pointed nowhere.
        let marked = lines.iter().position(|line| line.contains("| ^")).unwrap();
        let at = lines[marked].find('^');
        assert_eq!(at, lines[marked - 1].find("tsl"), "{error}");
        assert!(error.contains("unknown field `tsl`"), "{error}");
    }
}
