//! The copy of a volume on the drive, and its exchange with the bucket. Touches drive and network.
//!
//! ```text
//! tree/         the files, for the containers
//! state.json    what tree and bucket had in common last; not there before the first complete copy
//! incoming/     a pull's files, under numbers; nothing of tree changes before all are here
//! incoming/apply.json   they are all here, and go to their places now
//! aside/        what was written here and in the bucket
//! ```
//!
//! A power cut before `apply.json` leaves the old copy, and one after it the new one: what is left
//! to do is done before anybody sees the files.

mod pull;
mod push;

use std::fs;
use std::fs::File;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

pub(super) use self::pull::Pulled;
pub(super) use self::push::Pushed;
use super::plan::Base;
use super::plan::Files;
use super::tree::Tree;

const TREE: &str = "tree";
const STATE: &str = "state.json";
const INCOMING: &str = "incoming";
const APPLY: &str = "apply.json";

/// The copy of one volume.
#[derive(Debug)]
pub(super) struct Copy {
    home: PathBuf,
    tree: Tree,
    base: Base,
    /// There was a complete copy once.
    pub(super) complete: bool,
    /// The files at the last look.
    seen: Option<Files>,
    /// Steps before the power fails.
    #[cfg(test)]
    pub(super) power: std::cell::Cell<Option<usize>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct State {
    format: u32,
    files: Base,
}

impl Copy {
    /// Opens the copy in `home`, which is made if it is missing, and ends what a power cut has
    /// interrupted.
    pub(super) fn open(home: &Path) -> io::Result<Self> {
        for name in [TREE, INCOMING] {
            fs::create_dir_all(home.join(name))?;
        }
        let state = read_json::<State>(&home.join(STATE))?.filter(|state| state.format == 1);
        let mut copy = Self {
            tree: Tree::open(&home.join(TREE))?,
            home: home.to_owned(),
            complete: state.is_some(),
            base: state.map(|state| state.files).unwrap_or_default(),
            seen: None,
            #[cfg(test)]
            power: std::cell::Cell::new(None),
        };
        if let Some(apply) = read_json(&home.join(INCOMING).join(APPLY))? {
            copy.apply(&apply)?;
        }
        copy.clear_incoming()?;
        Ok(copy)
    }

    /// The directory for the containers.
    pub(super) fn path(&self) -> PathBuf {
        self.home.join(TREE)
    }

    fn save(&self) -> io::Result<()> {
        self.write_json(STATE, &State { format: 1, files: self.base.clone() })
    }

    /// Writes a file whole or not at all, and lasting.
    fn write_json(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        self.step()?;
        let path = self.home.join(name);
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        file.sync_all()?;
        self.step()?;
        fs::rename(&new, &path)?;
        File::open(path.parent().unwrap_or(&self.home))?.sync_all()?;
        self.step()
    }

    fn clear_incoming(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.home.join(INCOMING))? {
            fs::remove_file(entry?.path())?;
        }
        Ok(())
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests cut the power here")]
    fn step(&self) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    fn step(&self) -> io::Result<()> {
        let Some(left) = self.power.get() else { return Ok(()) };
        if left == 0 {
            return Err(io::Error::other("the power is cut"));
        }
        self.power.set(Some(left - 1));
        Ok(())
    }
}

/// Reads a file; `None` if it is not there, or not whole.
fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        bytes => Ok(serde_json::from_slice(&bytes?).ok()),
    }
}
