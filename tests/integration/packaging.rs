//! What packages take from the program, and the unit files beside it.

use std::path::Path;
use std::process::Command;

use crate::common::TestState;

#[test]
fn every_command_has_a_manual_page_and_is_completed() {
    let state = TestState::new();
    let dir = state.dir().join("man");
    state.ok(&["man", "--out-dir", dir.to_str().unwrap()]);
    let page = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    assert!(page("farmgate.1").contains("mutual") || page("farmgate.1").contains("Boots a fleet"));
    assert!(page("farmgate-iso-seal.1").contains("slot"));
    // Where this page was made is nobody's business.
    assert!(!page("farmgate.1").contains(state.dir().to_str().unwrap()));
    assert!(state.ok(&["man"]).contains(".TH farmgate"));
    for shell in ["bash", "zsh", "fish"] {
        let text = state.ok(&["completions", shell]);
        assert!(text.contains("FARMGATE_COMPLETE") && text.contains("farmgate"), "{shell}");
    }
    assert!(state.ok(&["completions", "elvish"]).contains("nginx-config"));
}

/// As man(1) shows them, without a word of groff's.
#[test]
fn manual_pages_are_clean_and_have_their_sections() {
    let state = TestState::new();
    let dir = state.dir().join("man");
    state.ok(&["man", "--out-dir", dir.to_str().unwrap()]);
    let show = |path: &Path| {
        let output = Command::new("man")
            .args(["--warnings", "--local-file"])
            .arg(path)
            .env("LC_ALL", "C.UTF-8")
            .env("MANWIDTH", "100")
            .output()
            .expect("man is needed for this test: Debian's package man-db");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{path:?}: {error}");
        (String::from_utf8_lossy(&output.stdout).into_owned(), error)
    };
    let mut pages = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let (text, error) = show(&path);
        assert_eq!(error, "", "{path:?}");
        let of_command = path.extension().is_some_and(|section| section == "1");
        for section in ["ENVIRONMENT", "FILES", "EXIT STATUS", "SEE ALSO"] {
            assert_eq!(
                text.contains(&format!("\n{section}\n")),
                of_command || section == "SEE ALSO"
            );
        }
        pages += 1;
    }
    assert!(pages > 30, "{pages} pages");
    let (text, _) = show(&dir.join("farmgate-publish.1"));
    assert!(text.contains("EXAMPLES") && text.contains("farmgate publish lab-1 ./lab-1"), "{text}");
    let (text, _) = show(&dir.join("farmgate.1"));
    assert!(text.contains("FARMGATE_STATE") && text.contains("wrong usage"), "{text}");
    let (text, _) = show(&dir.join("farmgate.toml.5"));
    assert!(text.contains("fallback-urls") && text.contains("[ASSESSMENT]"), "{text}");

    // groff would have had something to say.
    let bad = dir.join("bad.1");
    std::fs::write(&bad, ".TH bad 1\n.SH NAME\nbad \\- x\n.no-such-macro\n").unwrap();
    assert_ne!(show(&bad).1, "");
}

/// systemd-analyze needs no systemd that runs.
#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let dir = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&units).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".service") || name.ends_with(".socket") {
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.replace("/usr/bin/farmgate", "/bin/true");
            let text = text.replace("/usr/lib/farmgate/farmgate-ack", "/bin/true");
            std::fs::write(dir.path().join(name), text).unwrap();
            files.push(dir.path().join(name));
        }
    }
    assert_eq!(files.len(), 5, "{files:?}");
    // What operators add for buckets.
    let drop_in = dir.path().join("farmgate.service.d");
    std::fs::create_dir(&drop_in).unwrap();
    std::fs::copy(units.join("farmgate.service.d/network.conf"), drop_in.join("network.conf"))
        .unwrap();
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(&files)
        .output()
        .expect("systemd-analyze is needed for this test: Debian's package systemd");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("farmgate"), "{said}");
}
