//! Moves a state to another directory, also of another file system. Touches the disk.
//!
//! Nobody else may have the state open meanwhile: every [`State`] holds a shared lock, and this takes
//! it alone. Within a file system the move is one `rename`. Otherwise everything but `format`, without
//! which a directory is no state, is copied and read back. Then the old directory loses its `format`,
//! and the new one gets it. So there are never two states, on the wrong one of which a server could
//! run. Whoever is killed leaves marks, by which the same command goes on.

mod marks;
mod places;
mod tree;

use std::fs;
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::fchown;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use rustix::io::Errno;
use serde::Serialize;

pub(super) use self::marks::why_there_is_none;
use self::places::Places;
use self::places::open_dir;
use self::tree::Size;
use super::State;
use super::commit_log;
use super::files;
use super::layout;
use super::owner;
use super::owner::as_caller;

/// The outcome of a move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// The directory that was the state.
    pub from: PathBuf,
    /// The directory that is the state now.
    pub to: PathBuf,
    pub files: u64,
    pub bytes: u64,
    /// The bytes were copied, and read back.
    pub copied: bool,
}

/// News for a caller that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes will be read: once for the copy, and once to compare it.
    Expected(u64),
    /// So many more were.
    Read(u64),
}

/// The moments between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// The copy has begun.
    Begun,
    /// It is whole, and compared.
    Copied,
    /// The old directory names the new one, and still is the state.
    Named,
    /// The old directory is no state any more.
    Retired,
    /// The new one is.
    Live,
    /// Nothing but marks is left in the old one.
    Cleared,
}

/// Moves the state `from` to the directory `to`, which must be missing or empty. `config` names a
/// configuration that is elsewhere.
pub fn relocate(
    from: &Path,
    config: Option<&Path>,
    to: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Moved> {
    let mut steps = Steps {
        places: Places::new(from, to)?,
        progress,
        may_rename: true,
        reached: &mut |_| Ok(()),
    };
    steps.run(config)
}

struct Steps<'a> {
    places: Places,
    progress: &'a mut dyn FnMut(Progress),
    may_rename: bool,
    /// Called between two steps. Tests end there.
    reached: &'a mut dyn FnMut(Moment) -> Result<()>,
}

impl Steps<'_> {
    fn run(&mut self, config: Option<&Path>) -> Result<Moved> {
        let Places { from, to } = self.places.clone();
        owner::work_as_owner_of(&from)?;
        if let Some(promised) = marks::unfinished(&from)? {
            ensure!(
                promised == to,
                "{0} was being moved to {1}: finish that first, by `farmgate --state {0} state move {1}`",
                from.display(),
                promised.display()
            );
            let _sole = marks::lock_retired(&from)?;
            return self.finish();
        }
        let state = State::open(&from, config)?;
        state.lock_for_move()?;
        // All that a server of an earlier version holds.
        let _log = commit_log::lock(&state.store_dir()).context(STOP)?;
        as_caller(|| self.places.clear_for_move())?;
        if self.may_rename && as_caller(|| rename(&self.places))? {
            return self.moved(false);
        }
        as_caller(|| self.copy())?;
        (self.reached)(Moment::Copied)?;
        marks::name(&from, &to)?;
        (self.reached)(Moment::Named)?;
        marks::retire(&from)?;
        (self.reached)(Moment::Retired)?;
        self.finish()
    }

    /// Copies everything but `format`. If that fails, nothing is left.
    fn copy(&mut self) -> Result<()> {
        let Places { from, to } = &self.places;
        let made = match rustix::fs::mkdir(to, layout::PRIVATE_DIR.into()) {
            Err(Errno::EXIST) => false,
            made => {
                made.with_context(|| format!("cannot make the directory {}", to.display()))?;
                files::sync_parent(to)?;
                true
            }
        };
        let (source, target) = (open_dir(from)?, open_dir(to)?);
        // Nobody else gets in until it is whole: its files get their owners one by one.
        let own = owner::as_number();
        fchown(&target, Some(own.0), Some(own.1))
            .and_then(|()| target.set_permissions(PermissionsExt::from_mode(layout::PRIVATE_DIR)))
            .with_context(|| format!("cannot keep {} for this user alone", to.display()))?;
        marks::begin(to, from)?;
        (self.reached)(Moment::Begun)?;
        let copied = tree::ensure_room(&source, &target, to).and_then(|size| {
            (self.progress)(Progress::Expected(2 * size.bytes));
            let mut read = |bytes| (self.progress)(Progress::Read(bytes));
            let written = tree::copy(&source, &target, &marks::NOT_COPIED, &mut read)?;
            rustix::fs::syncfs(&target).context("cannot write")?;
            tree::compare(&target, &written, &mut read)
        });
        if copied.is_err() {
            // What is left is found, and removed, by the next attempt.
            let _ = self.places.clear_for_move();
            if made {
                let _ = fs::remove_dir(to);
            }
        }
        copied.with_context(|| {
            format!("cannot copy {} to {}; nothing was changed", from.display(), to.display())
        })
    }

    /// Makes the copy the state, and removes what is left of the old one.
    fn finish(&mut self) -> Result<Moved> {
        let Places { from, to } = &self.places;
        as_caller(|| -> Result<()> {
            let (source, target) = (open_dir(from)?, open_dir(to)?);
            marks::ensure_copy_of(from, to, &tree::names(&source)?)?;
            Ok(tree::owned_like(&target, &source.metadata()?)?)
        })
        .with_context(|| format!("cannot make {} the state", to.display()))?;
        marks::go_live(from, to)?;
        (self.reached)(Moment::Live)?;
        let moved = self.moved(true)?;
        let clear = || -> Result<()> {
            tree::clear(&open_dir(&self.places.from)?, &[layout::MOVED, layout::RETIRED])
        };
        let cleared = as_caller(clear).and_then(|()| {
            (self.reached)(Moment::Cleared)?;
            marks::end(&self.places.from, &self.places.to)
        });
        cleared.with_context(|| {
            format!(
                "the state is in {} now, and what is left in {} cannot be removed",
                self.places.to.display(),
                self.places.from.display()
            )
        })?;
        Ok(moved)
    }

    fn moved(&self, copied: bool) -> Result<Moved> {
        let Places { from, to } = self.places.clone();
        let Size { files, bytes } = as_caller(|| tree::size(&open_dir(&to)?))?;
        Ok(Moved { from, to, files, bytes, copied })
    }
}

/// The way out for whoever cannot have the state alone.
const STOP: &str = "somebody works on this state; nothing was changed. A server is stopped by \
                    `systemctl stop farmgate.socket farmgate-tls.socket farmgate-admin.socket \
                    farmgate.service`";

impl State {
    /// Fails if another process has the state open.
    fn lock_for_move(&self) -> Result<()> {
        self.hold_alone().context(STOP)
    }
}

/// Moves by one system call. Says whether it could.
fn rename(places: &Places) -> Result<bool> {
    let Places { from, to } = places;
    let facts = fs::metadata(from)?;
    match rustix::fs::rename(from, to) {
        Ok(()) => {}
        // Another file system, a mount point, or a directory above that is not ours.
        Err(Errno::XDEV | Errno::BUSY | Errno::ACCESS | Errno::PERM | Errno::NOTEMPTY) => {
            return Ok(false);
        }
        Err(error) => {
            return Err(io::Error::from(error))
                .with_context(|| format!("cannot rename {} to {}", from.display(), to.display()));
        }
    }
    files::sync_parent(to).and_then(|()| files::sync_parent(from))?;
    // It only helps who looks here.
    let leave = || -> Result<()> {
        fs::create_dir(from)?;
        marks::leave(from, to)?;
        Ok(tree::owned_like(&File::open(from)?, &facts)?)
    };
    if let Err(error) = leave() {
        tracing::debug!("{} does not say where the state is: {error:#}", from.display());
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
