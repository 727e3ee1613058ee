//! What was published can be read back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::common::TestState;

const SCRIPT: &[u8] = b"#!ipxe\nkernel vmlinuz\ninitrd initrd/a.img\nboot\n";

/// A gateway with two generations, the first with secrets.
fn published() -> (TestState, Vec<u8>) {
    let state = TestState::quick();
    let kernel = crate::common::kernel();
    let files = [
        ("boot.ipxe", SCRIPT),
        ("vmlinuz", &kernel),
        ("initrd/a.img", &[7; 300_000]),
        ("secrets", b"PASSWORD=1\n"),
    ];
    let folder = state.folder("first", &files);
    state.ok(&["publish", "lab-1", folder.to_str().unwrap()]);
    let second = state.folder("second", &[("boot.ipxe", b"#!ipxe\nboot\n")]);
    state.ok(&["publish", "lab-1", second.to_str().unwrap()]);
    (state, kernel)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_files_of_a_generation_are_listed() {
    let (state, kernel) = published();
    let listed = state.json(&["generations", "lab-1", "--files", "1"]);
    assert_eq!((&listed["gateway"], &listed["generation"]), (&"lab-1".into(), &1.into()));
    let files = listed["files"].as_array().unwrap();
    let paths: Vec<_> = files.iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["boot.ipxe", "initrd/a.img", "secrets", "vmlinuz"]);
    assert_eq!(files[3]["size"], kernel.len());
    assert_eq!(files[3]["sha256"].as_str().unwrap().len(), 64);
    // Without a number it is the current one.
    let text = state.ok(&["generations", "lab-1", "--files"]);
    assert!(text.contains("boot.ipxe") && !text.contains("vmlinuz"), "{text}");
    let line = state.fails(&["generations", "lab-1", "--files", "3"]);
    assert!(line.contains("no generation 3"), "{line}");
}

#[test]
fn one_file_goes_to_stdout_or_to_a_file() {
    let (state, kernel) = published();
    assert_eq!(state.ok(&["get", "lab-1", "1", "boot.ipxe"]).as_bytes(), SCRIPT);
    assert_eq!(state.run(&["get", "lab-1", "1", "vmlinuz"]).stdout, kernel);
    let dir = state.folder("out", &[("there", b"before")]);
    let (file, there) = (dir.join("kernel"), dir.join("there"));
    let get = |path: &str, to: &Path, more: &[&str]| {
        let mut args = vec!["get", "lab-1", "1", path, "-o", to.to_str().unwrap()];
        args.extend(more);
        state.run(&args)
    };
    assert!(get("vmlinuz", &file, &[]).status.success());
    assert_eq!(fs::read(&file).unwrap(), kernel);
    // Into a directory, under its own name.
    assert!(get("initrd/a.img", &dir, &[]).status.success());
    assert_eq!(fs::read(dir.join("a.img")).unwrap(), [7; 300_000]);
    // Nothing is overwritten unless told.
    let refused = get("vmlinuz", &there, &[]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--force"), "{refused:?}");
    assert_eq!(fs::read(&there).unwrap(), b"before");
    assert!(get("vmlinuz", &there, &["--force"]).status.success());
    assert_eq!(fs::read(&there).unwrap(), kernel);
    // Nor is a link followed.
    let (link, target) = (dir.join("link"), dir.join("target"));
    symlink(&target, &link).unwrap();
    assert!(!get("vmlinuz", &link, &[]).status.success());
    assert!(!target.exists());
    // Secrets are for their owner alone.
    assert!(get("secrets", &dir.join("template"), &[]).status.success());
    assert_eq!(mode(&dir.join("template")), 0o600);
    for (args, words) in [
        (&["get", "lab-1", "1", "vmlinux"][..], "--files 1"),
        (&["get", "lab-1", "9", "vmlinuz"], "no generation 9"),
        (&["get", "lab-9", "1", "vmlinuz"], "no gateway lab-9"),
    ] {
        let line = state.fails(args);
        assert!(line.contains(words), "{line}");
    }
    for args in [&["get", "lab-1", "1"][..], &["--json", "get", "lab-1", "1", "vmlinuz"]] {
        assert_eq!(state.run(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn all_files_go_to_a_directory_without_the_secrets() {
    let (state, kernel) = published();
    let out = state.folder("out", &[]);
    let to = out.to_str().unwrap();
    let written = state.json(&["get", "lab-1", "1", "-o", to]);
    assert_eq!((&written["files"], &written["generation"]), (&3.into(), &1.into()));
    assert_eq!(fs::read(out.join("vmlinuz")).unwrap(), kernel);
    assert_eq!(fs::read(out.join("initrd/a.img")).unwrap(), [7; 300_000]);
    assert!(!out.join("secrets").exists());
    let line = state.fails(&["get", "lab-1", "1", "-o", to]);
    assert!(line.contains("is not empty"), "{line}");
    state.ok(&["get", "lab-1", "1", "-o", to, "--force", "--secrets"]);
    assert_eq!(fs::read(out.join("secrets")).unwrap(), b"PASSWORD=1\n");
    assert_eq!(mode(&out.join("secrets")), 0o600);
    // It can be published as it is: the same files.
    let again = state.json(&["publish", "lab-1", to]);
    assert_eq!(again["generation"], 3);
    let files =
        |number: &str| state.json(&["generations", "lab-1", "--files", number])["files"].clone();
    assert_eq!(files("1"), files("3"));
}

#[test]
fn a_damaged_file_is_not_read_back() {
    let (state, _) = published();
    let listed = state.json(&["generations", "lab-1", "--files", "1"]);
    let sha256 = listed["files"][1]["sha256"].as_str().unwrap();
    let blob = state.dir().join("store/blobs").join(&sha256[..2]).join(sha256);
    fs::write(&blob, [8; 300_000]).unwrap();
    let out = state.folder("out", &[]);
    fs::create_dir(&out).unwrap();
    let to = out.join("a.img");
    let line = state.fails(&["get", "lab-1", "1", "initrd/a.img", "-o", to.to_str().unwrap()]);
    assert!(line.contains("damaged"), "{line}");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
    fs::remove_file(&blob).unwrap();
    let line = state.fails(&["get", "lab-1", "1", "initrd/a.img"]);
    assert!(line.contains("missing"), "{line}");
}
