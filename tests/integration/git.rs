//! `sync::git` against real git repositories, honest and poisoned, and against real servers.

pub(crate) mod http;
mod repository;
mod ssh;

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use farmgate::config;
use farmgate::config::GitRemote;
use farmgate::sync::git;
use farmgate::sync::git::Commit;
use farmgate::sync::git::Follows;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A repository that somebody pushes to: a bare one, and the work tree of its author.
pub(crate) struct Forge {
    dir: TempDir,
}

impl Forge {
    pub(crate) fn new() -> Self {
        let forge = Self { dir: tempfile::tempdir().unwrap() };
        forge.run(&["init", "--quiet", "--bare", "-b", "main", "fleet.git"]);
        forge.run(&["-C", "fleet.git", "config", "receive.denyDeleteCurrent", "ignore"]);
        forge.run(&["clone", "--quiet", "fleet.git", "work"]);
        forge
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The work tree.
    pub(crate) fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// The bare repository.
    pub(crate) fn bare(&self) -> PathBuf {
        self.dir.path().join("fleet.git")
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"])
            .args(["-c", "protocol.file.allow=always", "-c", "advice.detachedHead=false"])
            .args(args)
            .current_dir(self.dir.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .expect("git is needed for this test");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {args:?}: {said}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Runs git in the work tree.
    #[track_caller]
    pub(crate) fn git(&self, args: &[&str]) -> String {
        let mut all = vec!["-C", "work"];
        all.extend(args);
        self.run(&all)
    }

    pub(crate) fn write(&self, path: &str, content: &[u8]) {
        let path = self.work().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Commits everything, pushes it, and returns the commit's id.
    pub(crate) fn push(&self, message: &str) -> String {
        self.push_with(message, &[])
    }

    pub(crate) fn push_with(&self, message: &str, args: &[&str]) -> String {
        self.git(&["add", "-A"]);
        let mut commit = vec!["commit", "--quiet", "--allow-empty", "-m", message];
        commit.extend(args);
        self.git(&commit);
        self.git(&["push", "--quiet", "--force", "origin", "HEAD:main"]);
        self.git(&["rev-parse", "HEAD"])
    }

    pub(crate) fn remote(&self) -> String {
        format!("file://{}", self.bare().display())
    }
}

/// A boot host's side, without the rest of it.
pub(crate) struct Here {
    dir: TempDir,
    pub(crate) config: config::Sync,
    pub(crate) stop: CancellationToken,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) commit: Commit,
    /// Paths and contents of all files.
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

impl Here {
    pub(crate) fn new(remote: &str) -> Self {
        let remote = Some(remote.parse::<GitRemote>().unwrap());
        let timeout = Duration::from_secs(60);
        let config = config::Sync { remote, timeout, ..config::Sync::default() };
        Self { dir: tempfile::tempdir().unwrap(), config, stop: CancellationToken::new() }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file for the configuration to name, for its owner alone.
    pub(crate) fn secret(&self, name: &str, content: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn with<T>(
        &self,
        work: impl FnOnce(git::Fetched<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let remote = self.config.remote.as_ref().unwrap();
        let config = &self.config;
        let settings =
            git::Settings { config, remote, dir: self.dir.path(), systemd: None, stop: &self.stop };
        work(git::fetch(&settings)?)
    }

    /// Fetches, verifies, writes out.
    pub(crate) fn bring(&self) -> anyhow::Result<Came> {
        self.with(|fetched| {
            fetched.ensure_signed()?;
            let export = fetched.export()?;
            let mut files = Vec::new();
            collect(export.path(), "", &mut files);
            assert_eq!(files.len(), export.files);
            Ok(Came { commit: fetched.commit.clone(), files })
        })
    }

    #[track_caller]
    pub(crate) fn fails(&self) -> String {
        format!("{:#}", self.bring().unwrap_err())
    }

    pub(crate) fn follows(&self, earlier: &str) -> Follows {
        self.with(|fetched| fetched.follows(earlier)).unwrap()
    }
}

fn collect(folder: &Path, below: &str, files: &mut Vec<(String, Vec<u8>)>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = format!("{below}{}", entry.file_name().to_str().unwrap());
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => collect(&entry.path(), &format!("{name}/"), files),
            kind if kind.is_symlink() => {
                let target = std::fs::read_link(entry.path()).unwrap();
                files.push((name, target.to_str().unwrap().as_bytes().to_vec()));
            }
            _ => files.push((name, std::fs::read(entry.path()).unwrap())),
        }
    }
}
