//! Layers of images: whatever the bytes are, nothing changes outside of the directory that the layer
//! is unpacked into, and what was made can be removed. Runs as root, as the agent does.
#![no_main]

use std::fs;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::LazyLock;

use farmgate::agent::images::Live;
use farmgate::agent::images::unpack::Limits;
use farmgate::agent::images::unpack::unpack;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

const LIMITS: Limits = Limits { entries: 1000, bytes: 1 << 20, leave: 0 };

static DIRECTORY: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

fuzz_target!(|input: &[u8]| {
    let (layer, outside) = (DIRECTORY.path().join("layer"), DIRECTORY.path().join("outside"));
    fs::create_dir(&layer).unwrap();
    fs::write(&outside, "untouched").unwrap();
    let directory = File::open(&layer).unwrap();
    let _ = unpack(input, directory.as_fd(), &LIMITS, &Live);
    assert_eq!(fs::read(&outside).unwrap(), b"untouched");
    assert_eq!(fs::read_dir(DIRECTORY.path()).unwrap().count(), 2);
    fs::remove_dir_all(&layer).unwrap();
});
