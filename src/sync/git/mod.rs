//! Brings the tip of a branch here as a folder of plain files, by the `git` program.
//!
//! The repository may be poisoned: whoever can write to it, or stands in for its server, must get
//! no further than to have a commit refused. So nothing of it is ever executed or interpreted. git
//! runs with no configuration but ours, without hooks, filters, submodules, helpers and prompts,
//! and with limits on time, memory and bytes. The repository here has no work tree; its files are
//! listed, checked by name and size, and written one by one.

mod access;
mod child;
mod commit;
mod export;
mod probe;
mod program;
mod reason;
mod repository;
mod signature;
mod tree;

use std::path::Path;

use anyhow::Result;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::config::GitRemote;
use access::Access;
pub use commit::Commit;
pub use probe::Probe;
use program::Program;
use repository::Repository;

/// The settings that git works with.
pub struct Settings<'a> {
    /// `[sync]`.
    pub config: &'a config::Sync,
    /// Its address.
    pub remote: &'a GitRemote,
    /// `STATE/sync`. Whoever calls holds its lock.
    pub dir: &'a Path,
    /// The folder of systemd's credentials.
    pub systemd: Option<&'a Path>,
    /// Ends git at once when it is cancelled.
    pub stop: &'a CancellationToken,
}

/// The tip of the branch, here but not yet looked into.
pub struct Fetched<'a> {
    settings: &'a Settings<'a>,
    repository: Repository<'a>,
    /// The tip.
    pub commit: Commit,
}

/// The relation of a tip to an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// It is the same, or descends from it.
    Directly,
    /// It does not: the branch was rewritten, or set back.
    Not,
}

/// Fetches the branch.
pub fn fetch<'a>(settings: &'a Settings<'a>) -> Result<Fetched<'a>> {
    let access = Access::new(settings)?;
    let program = Program::new(settings, access)?;
    let repository = Repository::open(program, settings)?;
    let commit = repository.fetch()?;
    Ok(Fetched { settings, repository, commit })
}

impl Fetched<'_> {
    /// The relation of the tip to the commit `earlier`.
    pub fn follows(&self, earlier: &str) -> Result<Follows> {
        self.repository.follows(earlier, &self.commit)
    }

    /// Fails unless the tip has the signature of an allowed signer, if there are such.
    pub fn ensure_signed(&self) -> Result<()> {
        match &self.settings.config.allowed_signers {
            Some(signers) => signature::ensure(&self.repository, &self.commit, signers),
            None => Ok(()),
        }
    }

    /// Writes the fleet folder of the tip to a fresh folder.
    pub fn export(&self) -> Result<Export> {
        let folder = self.settings.config.folder.as_ref().map(|folder| folder.as_str());
        let entries =
            tree::list(&self.repository, &self.commit, folder, self.settings.config.max_size)?;
        let dir = export::write(&self.repository, &entries, self.settings.dir)?;
        Ok(Export { files: entries.len(), dir })
    }
}

/// A folder with the files of a commit, gone when dropped.
pub struct Export {
    dir: TempDir,
    /// The number of its files.
    pub files: usize,
}

impl Export {
    /// The folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}
