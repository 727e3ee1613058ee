//! Tests of the unpacker: what other tools pack, and what nobody should.

mod described;
mod evil;
mod formats;

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use rustix::fs::lgetxattr;
use rustix::fs::makedev;
use tar::EntryType;
use tempfile::TempDir;

use super::super::steps::Live;
use super::super::tests::made;
use super::super::tests::made::Layer;
use super::*;

const LIMITS: Limits = Limits { entries: 1000, bytes: 1 << 30, leave: 0 };

/// A layer's directory, and one beside it that nothing may touch.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("layer")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/file"), "untouched").unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("layer").join(name)
    }

    fn unpack_within(&self, packed: &[u8], limits: &Limits) -> Result<Unpacked, Flaw> {
        let directory = File::open(self.dir.path().join("layer")).unwrap();
        unpack(packed, directory.as_fd(), limits, &Live)
    }

    fn unpack(&self, packed: &[u8]) -> Result<Unpacked, Flaw> {
        self.unpack_within(packed, &LIMITS)
    }

    fn assert_nothing_left_it(&self) {
        let names = |path: &Path| {
            let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = entries.collect();
            names.sort();
            names
        };
        assert_eq!(names(self.dir.path()), ["layer", "outside"]);
        let outside = self.dir.path().join("outside");
        assert_eq!(names(&outside), ["file"]);
        let file = outside.join("file");
        assert_eq!(fs::read_to_string(&file).unwrap(), "untouched");
        let file = file.metadata().unwrap();
        assert_eq!((file.nlink(), file.uid(), file.mode() & 0o7777), (1, 0, 0o644));
    }
}

fn why(result: Result<Unpacked, Flaw>) -> String {
    match result {
        Err(Flaw::Bad(why)) => why,
        other => panic!("not bad: {other:?}"),
    }
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = lgetxattr(path, name, &mut value).ok()?;
    value.truncate(length);
    Some(value)
}
