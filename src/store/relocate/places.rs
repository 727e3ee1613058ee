//! The two directories of a move. Touches the disk.

use std::fs;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use nix::unistd::geteuid;
use rustix::fs::Mode;
use rustix::fs::OFlags;

use super::super::owner;
use super::super::owner::as_caller;
use super::marks;
use super::tree;

/// The directory that every new file system has.
const LOST_AND_FOUND: &str = "lost+found";

/// Opens a directory, which is used through this handle from then on.
pub(super) fn open_dir(path: &Path) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from);
    dir.map(File::from).with_context(|| format!("cannot open the directory {}", path.display()))
}

/// Old and new directory, by paths without links.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) from: PathBuf,
    pub(super) to: PathBuf,
}

impl Places {
    pub(super) fn new(from: &Path, to: &Path) -> Result<Self> {
        let from = as_caller(|| fs::canonicalize(from))
            .with_context(|| format!("cannot use {}", from.display()))?;
        let to = std::path::absolute(to)?;
        let (Some(parent), Some(name)) = (to.parent(), to.file_name()) else {
            bail!("{} is no name for a state", to.display());
        };
        // It is not made by the way: a disk may be missing there.
        let parent = as_caller(|| fs::canonicalize(parent))
            .with_context(|| format!("{} is not there; nothing was changed", parent.display()))?;
        let to = parent.join(name);
        ensure!(from != to, "the state is in {} already", to.display());
        ensure!(
            !to.starts_with(&from) && !from.starts_with(&to),
            "one of {} and {} is in the other; nothing was changed",
            from.display(),
            to.display()
        );
        if geteuid().is_root() {
            // Nobody may put other directories in their places.
            owner::ensure_roots_alone(&parent)?;
            owner::ensure_roots_alone(from.parent().unwrap_or(&from))?;
        }
        Ok(Self { from, to })
    }

    /// Fails unless the new directory is missing or empty, apart from what an unfinished copy of
    /// this state left, which is removed.
    pub(super) fn clear_for_move(&self) -> Result<()> {
        let to = &self.to;
        let facts = match fs::symlink_metadata(to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            facts => facts.with_context(|| format!("cannot read {}", to.display()))?,
        };
        ensure!(facts.is_dir(), "{} is no directory; nothing was changed", to.display());
        let owners = [owner::as_number().0, fs::metadata(&self.from)?.uid()];
        ensure!(
            owners.contains(&facts.uid()),
            "{} belongs to user {}; nothing was changed: choose a directory of your own",
            to.display(),
            facts.uid()
        );
        let dir = open_dir(to)?;
        if marks::is_copy_of(to, &self.from)? {
            return tree::clear(&dir, &[LOST_AND_FOUND]);
        }
        let mut names = tree::names(&dir)?;
        names.retain(|name| name.to_str() != Some(LOST_AND_FOUND));
        let was_one = names.len() == 1 && names[0].to_str() == Some(super::layout::MOVED);
        ensure!(
            names.is_empty() || was_one,
            "{} is not empty; nothing was changed: choose an empty directory",
            to.display()
        );
        tree::clear(&dir, &[LOST_AND_FOUND])
    }
}
