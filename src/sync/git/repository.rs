//! The bare repository in `STATE/sync`. A copy of the remote: it may be thrown away at any time.

use std::fs;
use std::io;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use super::Follows;
use super::Settings;
use super::access::upload_pack;
use super::commit::Commit;
use super::commit::FORMAT;
use super::commit::is_id;
use super::program::Program;
use super::reason::reason;
use crate::config::Branch;
use crate::config::GitRemote;

/// The reference that holds the branch's tip.
const TIP: &str = "refs/farmgate/tip";

/// After so many fetches that brought something, the packs are made into one.
const MOST_PACKS: usize = 40;

pub(super) struct Repository<'a> {
    pub(super) program: Program,
    remote: &'a GitRemote,
    branch: &'a Branch,
}

impl<'a> Repository<'a> {
    /// Opens the repository, or makes it.
    pub(super) fn open(program: Program, settings: &'a Settings<'a>) -> Result<Self> {
        let repository = Self { program, remote: settings.remote, branch: &settings.config.branch };
        if !repository.program.repository().join("HEAD").exists() {
            repository.make_anew()?;
        }
        repository.remove_locks()?;
        Ok(repository)
    }

    fn make_anew(&self) -> Result<()> {
        let path = self.program.repository();
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => {}
        }
        // A template could bring hooks.
        let made = self.program.git(["init", "--quiet", "--bare", "--template="]).answer();
        made.map(drop).context("cannot make a git repository in STATE/sync")
    }

    /// Removes what a killed git left. Nobody else uses this repository: farmgate's own lock is held.
    fn remove_locks(&self) -> Result<()> {
        let path = self.program.repository();
        for name in ["shallow.lock", "packed-refs.lock", "config.lock", "refs/farmgate/tip.lock"] {
            crate::store::files::remove_if_there(&path.join(name))?;
        }
        let packs = fs::read_dir(path.join("objects/pack")).into_iter().flatten().flatten();
        for entry in packs.filter(|entry| entry.file_name().to_string_lossy().starts_with("tmp_")) {
            crate::store::files::remove_if_there(&entry.path())?;
        }
        Ok(())
    }

    /// Fetches the branch, and returns its tip.
    pub(super) fn fetch(&self) -> Result<Commit> {
        let what = || format!("cannot fetch {} of {}", self.branch, self.remote);
        match self.fetch_once() {
            Ok(commit) => Ok(commit),
            Err(error) if self.is_sound() => Err(error).with_context(what),
            Err(error) => {
                tracing::warn!(
                    "the repository in STATE/sync is damaged and is fetched anew: {error:#}"
                );
                self.make_anew()?;
                self.fetch_once().with_context(what)
            }
        }
    }

    fn fetch_once(&self) -> Result<Commit> {
        let refspec = format!("+{}:{TIP}", self.branch.reference());
        let mut args = vec![
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
        ];
        let upload_pack = upload_pack(self.remote);
        args.extend(upload_pack.as_deref());
        args.extend(["--", self.remote.as_str(), &refspec]);
        self.program.git(args).answer()?;
        let tip =
            self.program.git(["rev-parse", "--verify", "--quiet", &format!("{TIP}^{{commit}}")]);
        let tip = tip.answer().context("the branch's tip is no commit")?;
        let show = ["show", "--no-patch", "--no-show-signature", "--no-notes", FORMAT, tip.trim()];
        let commit = Commit::parse(&self.program.git(show).answer()?)?;
        self.tidy();
        Ok(commit)
    }

    /// Says whether all objects of the tip are there. An empty repository is sound.
    fn is_sound(&self) -> bool {
        if !self.program.repository().join(TIP).exists() {
            return true;
        }
        let args = ["rev-list", "--objects", "--quiet", TIP];
        match self.program.git(args).ended() {
            Ok(ended) => ended.status.success(),
            // It was ended: that says nothing.
            Err(_) => true,
        }
    }

    fn tidy(&self) {
        let packs = fs::read_dir(self.program.repository().join("objects/pack"));
        let packs = packs.into_iter().flatten().flatten();
        let is_pack = |name: &std::ffi::OsStr| name.to_string_lossy().ends_with(".pack");
        if packs.filter(|entry| is_pack(&entry.file_name())).count() < MOST_PACKS {
            return;
        }
        // Also drops what no branch has any more.
        if let Err(error) = self.program.git(["repack", "-a", "-d", "-q"]).answer() {
            tracing::warn!("the repository in STATE/sync could not be tidied: {error:#}");
        }
    }

    /// The relation of `tip` to `earlier`.
    pub(super) fn follows(&self, earlier: &str, tip: &Commit) -> Result<Follows> {
        if !is_id(earlier) {
            bail!("{earlier:?} is not the id of a commit");
        }
        let args = ["merge-base", "--is-ancestor", earlier, &tip.id];
        let ended = self.program.git(args).ended()?;
        match ended.status.code() {
            Some(0) => Ok(Follows::Directly),
            // The tip's whole history is here. What is not, is not part of it.
            Some(1 | 128) => Ok(Follows::Not),
            _ => bail!(reason(&ended.said, ended.status)),
        }
    }
}
