//! Dependencies point one way (see the crate's documentation).

use std::fs;
use std::path::Path;
use std::path::PathBuf;

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[track_caller]
fn assert_absent(modules: &[&str], words: &[&str]) {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut looked_at = 0;
    for path in sources(&src) {
        let relative = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        let tests = relative.ends_with("/tests.rs");
        if tests || !modules.iter().any(|module| relative.starts_with(module)) {
            continue;
        }
        looked_at += 1;
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (number, line) in code.lines().enumerate() {
            let line = line.split("//").next().unwrap();
            for word in words {
                assert!(!line.contains(word), "src/{relative}:{}: {word}", number + 1);
            }
        }
    }
    assert!(looked_at >= modules.len(), "{modules:?} are not where they were");
}

#[test]
fn the_pure_modules_know_no_files_clock_network_or_environment() {
    assert_absent(
        &[
            "identity/",
            "ipxe/",
            "config",
            "foreign.rs",
            "fleet/",
            "bucket/backoff.rs",
            "bucket/error.rs",
            "bucket/hand_out.rs",
            "bucket/name.rs",
            "bucket/plan.rs",
            "bucket/stored/",
        ],
        &[
            "axum",
            "tokio",
            "std::fs",
            "std::env",
            "std::net::Tcp",
            "std::process",
            "SystemTime",
            "Instant",
            "now_utc",
            "crate::store",
            "crate::server",
            "crate::cli",
            "crate::iso",
            "crate::publish",
        ],
    );
}

#[test]
fn nobody_depends_on_those_above() {
    assert_absent(
        &["store/", "fleet/", "http_client.rs"],
        &[
            "crate::cli",
            "crate::doctor",
            "crate::server",
            "crate::publish",
            "crate::iso",
            "crate::bucket",
            "crate::replica",
        ],
    );
    assert_absent(
        &["bucket/", "replica/"],
        &["crate::cli", "crate::doctor", "crate::server", "crate::publish", "crate::iso", "axum"],
    );
    assert_absent(
        &["publish/", "iso/"],
        &["crate::cli", "crate::doctor", "crate::server", "axum", "tokio"],
    );
    assert_absent(&["server/"], &["crate::cli", "crate::doctor", "crate::publish", "crate::iso"]);
    assert_absent(&["doctor/"], &["crate::cli", "axum"]);
    assert_absent(&["process/"], &["crate::", "tokio", "axum"]);
}

#[test]
fn only_the_server_knows_axum_and_only_one_file_systemd() {
    assert_absent(
        &[
            "cli/",
            "store/",
            "bucket/",
            "replica/",
            "publish/",
            "iso/",
            "ipxe/",
            "identity/",
            "http_client.rs",
        ],
        &["axum"],
    );
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for path in sources(&src) {
        let text = fs::read_to_string(&path).unwrap();
        let systemd = path.ends_with("server/systemd.rs");
        assert_eq!(text.contains("sd_notify"), systemd, "{}", path.display());
    }
}

#[test]
fn only_the_grammar_of_boot_scripts_knows_nom() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for path in sources(&src) {
        let code = fs::read_to_string(&path).unwrap();
        let knows = code.lines().any(|line| line.trim_start().starts_with("use nom"));
        assert_eq!(knows, path.ends_with("ipxe/script/grammar.rs"), "{}", path.display());
    }
}
