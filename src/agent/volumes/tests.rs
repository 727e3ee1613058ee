//! Volumes against a real Garage and a real drive.

mod encrypted;
mod faults;
mod garage;
mod mirror;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use self::garage::Garage;
use super::Places;
use super::Volumes;
use crate::profile::agent::Pull;
use crate::profile::agent::Push;
use crate::profile::agent::Volume;
use crate::profile::report::Step;

const LIMIT: Duration = Duration::from_secs(60);

/// The description of the bucket's volume, unless a test is about it.
fn mirrored() -> Volume {
    Volume {
        bucket: true,
        pull: Pull::Start,
        push: Push::Changes,
        delete_remote: true,
        encrypt: None,
    }
}

/// A gateway's drive, which outlives its boots.
struct Drive(TempDir);

/// The steps that a boot told of.
type Said = RefCell<Vec<Step>>;

impl Drive {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Starts a boot as far as the volume; returns what was said of it.
    fn boot(&self, garage: &Garage, volume: &Volume) -> (Volumes, String) {
        boot_on(&self.0.path().join("drive"), self.0.path(), garage, volume, None)
    }

    /// A file in the volume.
    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join("drive/config/tree").join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // As most programs do: the inode is another one.
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, &path).unwrap();
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.at(path)).ok()
    }
}

fn boot_on(
    drive: &Path,
    memory: &Path,
    garage: &Garage,
    volume: &Volume,
    secret: Option<&str>,
) -> (Volumes, String) {
    let memory = memory.join("memory");
    let places = Places { drive, memory: &memory };
    let described = BTreeMap::from([("config".to_owned(), volume.clone())]);
    let said = Said::default();
    let tell = |step| said.borrow_mut().push(step);
    let secret = |_: &str| secret.map(str::to_owned);
    let volumes = Volumes::prepare(places, &described, &secret, garage.bucket(), &tell).unwrap();
    let steps = said.into_inner();
    let [Step::Volume { name, kind, trouble }] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!(name, "config");
    let said = format!("{kind} {}", trouble.as_deref().unwrap_or_default());
    (volumes, said.trim().to_owned())
}

/// Pushes twice, since what was just written may be half a file; returns the troubles.
fn push(volumes: &Volumes) -> Vec<String> {
    let said = Said::default();
    let tell = |step| said.borrow_mut().push(step);
    volumes.push_changes(&tell);
    for volume in volumes.volumes.values() {
        super::lock(volume).next = std::time::Instant::now();
    }
    volumes.push_changes(&tell);
    troubles(said)
}

fn finish(volumes: &Volumes) -> Vec<String> {
    let said = Said::default();
    volumes.finish(LIMIT, &|step| said.borrow_mut().push(step));
    troubles(said)
}

fn troubles(said: Said) -> Vec<String> {
    let trouble = |step| match step {
        Step::Trouble { what } => what,
        step => panic!("{step:?}"),
    };
    said.into_inner().into_iter().map(trouble).collect()
}

/// Says that something is not tested here, past the capture of the test harness. In CI that fails,
/// if CI could test it.
fn skip(what: &str, why: &str, can: bool) {
    let in_ci = std::env::var("CI").as_deref() == Ok("true");
    assert!(!(in_ci && can), "cannot be skipped in CI: {why}");
    let _ = writeln!(std::io::stderr().lock(), "skipped: {what}, because {why}");
}
