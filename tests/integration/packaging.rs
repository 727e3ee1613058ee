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
        assert!(text.contains("nginx-config") && text.contains("revoke"), "{shell}");
    }
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
