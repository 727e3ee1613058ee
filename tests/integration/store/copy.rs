use std::fs;
use std::os::unix::fs::PermissionsExt;

use farmgate::store::State;
use farmgate::store::blobs::Access;
use farmgate::store::generations::Generations;

use super::Host;
use super::directory;
use crate::common::TestState;
use crate::garage::Garage;

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// From a state's directory to a store and from there to another directory.
fn there_and_back(host: &Host, middle: &str) {
    let files = [("boot.ipxe", &b"#!ipxe\nboot\n"[..]), ("secrets", b"KEY=1\n")];
    let folder = host.test.folder("with-secrets", &files);
    host.test.ok(&["publish", "lab-1", folder.to_str().unwrap()]);
    host.test.publish("lab-1", 10_000_000);
    let from = host.test.dir().join("store");
    let copied = host.test.json(&["store", "copy", from.to_str().unwrap(), middle]);
    assert_eq!((&copied["blobs"], &copied["objects"]), (&3.into(), &5.into()));
    let copied = host.test.json(&["store", "copy", from.to_str().unwrap(), middle]);
    assert_eq!((&copied["blobs"], &copied["there"]), (&0.into(), &8.into()));

    let other = TestState::with_init(&["--key-type", "p256"]);
    let to = other.dir().join("store");
    host.test.ok(&["store", "copy", middle, to.to_str().unwrap()]);
    let state = State::open(&other.dir(), None).unwrap();
    let generations = Generations::new(&state);
    let history = generations.history(&host.id).unwrap();
    assert_eq!(history, host.history());
    for generation in history.generations() {
        for (path, asset) in generation.files() {
            let blobs = generations.blobs_of(Access::to(path));
            let (tree, wanted) =
                if path == "secrets" { ("private", 0o600) } else { ("blobs", 0o644) };
            let blob = blobs.path(&asset.sha256);
            assert!(blobs.is_whole(&asset.sha256).unwrap() && blob.starts_with(to.join(tree)));
            assert_eq!(mode(&blob), wanted, "{path}");
        }
    }
    assert_eq!(mode(&to.join("gateways").join(&host.id)), 0o700);
}

#[test]
fn a_store_is_copied_between_directories() {
    let middle = tempfile::tempdir().unwrap();
    let remote = tempfile::tempdir().unwrap();
    let host = Host::first(&directory(remote.path()));
    there_and_back(&host, middle.path().join("copy").to_str().unwrap());
}

/// Who ran `store sync` by hand, with the usual umask, used to leave them there for every local user.
#[test]
fn a_common_directory_keeps_secrets_for_its_owner() {
    let remote = tempfile::tempdir().unwrap();
    let host = Host::first(&directory(remote.path()));
    let files = [("boot.ipxe", &b"#!ipxe\nboot\n"[..]), ("secrets", b"KEY=1\n")];
    let folder = host.test.folder("with-secrets", &files);
    host.test.ok(&["publish", "lab-1", folder.to_str().unwrap()]);
    host.test.ok(&["store", "sync"]);
    let private = remote.path().join("private");
    assert_eq!(fs::read_dir(&private).unwrap().count(), 1);
    assert_eq!(mode(&private), 0o700);
}

#[test]
fn a_store_is_copied_to_a_bucket_and_back() {
    let Some(garage) = Garage::with_store(1) else { return };
    let host = Host::first(&garage.store_config(0));
    there_and_back(&host, "s3://farm/copy");
}

/// What versions with one tree of blobs made: the copy has two, and a secret that is also
/// somebody's file is in both.
#[test]
fn a_store_of_an_older_version_is_copied_into_two_trees() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let host = Host::first(&directory(tempfile::tempdir().unwrap().path()));
    let files =
        [("boot.ipxe", &b"#!ipxe\nboot\n"[..]), ("secrets", b"KEY=1\n"), ("shown", b"KEY=1\n")];
    for (name, files) in [("both", &files[..]), ("other", &[files[0], ("secrets", b"KEY=2\n")])] {
        let folder = host.test.folder(name, files);
        host.test.ok(&["publish", "lab-1", folder.to_str().unwrap()]);
    }
    let store = host.test.dir().join("store");
    for tree in ["blobs", "private", "gateways"] {
        let to = if tree == "private" { "blobs" } else { tree };
        let from = from.path().join(to);
        fs::create_dir_all(&from).unwrap();
        let copied =
            std::process::Command::new("cp").arg("-rT").arg(store.join(tree)).arg(&from).status();
        assert!(copied.unwrap().success());
    }
    let (from, to) = (from.path().to_str().unwrap(), to.path());
    host.test.ok(&["store", "copy", from, to.to_str().unwrap()]);
    let names = |tree: &str| -> Vec<String> {
        let folders = fs::read_dir(to.join(tree)).unwrap();
        let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
        let mut texts: Vec<_> =
            files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
        texts.sort();
        texts
    };
    assert_eq!(names("blobs"), ["#!ipxe\nboot\n", "KEY=1\n"]);
    assert_eq!(names("private"), ["KEY=1\n", "KEY=2\n"]);
}

#[test]
fn a_damaged_blob_is_not_copied_and_told_of() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let host = Host::first(&directory(from.path()));
    let id = "ab".repeat(32);
    let blob = from.path().join("blobs/ab").join(&id);
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    fs::write(&blob, "something else").unwrap();
    let (from, to) = (from.path().to_str().unwrap(), to.path());
    let line = host.test.fails(&["store", "copy", from, to.to_str().unwrap()]);
    assert!(line.contains(&id), "{line}");
    assert!(!to.join("blobs/ab").join(&id).exists());
}
