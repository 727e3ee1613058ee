use std::fs;
use std::os::unix::fs::PermissionsExt;

use farmgate::store::State;
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
    assert_eq!((&copied["blobs"], &copied["objects"]), (&3.into(), &4.into()));
    let copied = host.test.json(&["store", "copy", from.to_str().unwrap(), middle]);
    assert_eq!((&copied["blobs"], &copied["there"]), (&0.into(), &7.into()));

    let other = TestState::with_init(&["--key-type", "p256"]);
    let to = other.dir().join("store");
    host.test.ok(&["store", "copy", middle, to.to_str().unwrap()]);
    let state = State::open(&other.dir(), None).unwrap();
    let generations = Generations::new(&state);
    let history = generations.history(&host.id).unwrap();
    assert_eq!(history, host.history());
    for generation in history.generations() {
        for (path, asset) in generation.files() {
            let blob = generations.blobs().path(&asset.sha256);
            assert!(generations.blobs().is_whole(&asset.sha256).unwrap());
            assert_eq!(mode(&blob), if path == "secrets" { 0o600 } else { 0o644 }, "{path}");
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

#[test]
fn a_store_is_copied_to_a_bucket_and_back() {
    let Some(garage) = Garage::with_store(1) else { return };
    let host = Host::first(&garage.store_config(0));
    there_and_back(&host, "s3://farm/copy");
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
