//! A trial of what a fetch needs: the programs, the key, the remote, the branch. Runs git and ssh, and
//! changes nothing.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use tempfile::TempDir;

use super::Settings;
use super::access::Access;
use super::access::upload_pack;
use super::commit::is_id;
use super::program::Program;
use super::reason::reason;
use crate::config::Transport;
use crate::foreign::Foreign;

/// The oldest git that knows all that is asked of it: signatures by ssh keys.
const OLDEST: (u32, u32) = (2, 34);

/// Asks what a fetch would need. Its programs have a home of their own, which is gone when dropped.
pub struct Probe<'a> {
    settings: &'a Settings<'a>,
    home: TempDir,
}

impl<'a> Probe<'a> {
    pub fn new(settings: &'a Settings<'a>) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("farmgate-git-").tempdir();
        Ok(Self { settings, home: home.context("cannot make a temporary directory")? })
    }

    fn program(&self, access: Access) -> Result<Program> {
        Program::at(self.home.path(), self.settings, access)
    }

    /// The version of git. Fails if git is missing or too old, or another program that the
    /// configuration needs is missing.
    pub fn programs(&self) -> Result<String> {
        let program = self.program(Access::none())?;
        let said = program.other("git", ["--version"]).answer()?;
        let said = Foreign::shorter(said.trim().trim_start_matches("git version "), 40);
        let version = version(said.as_str());
        ensure!(
            version.is_none_or(|version| version >= OLDEST),
            "git {said} is too old: [sync] needs {}.{} or later",
            OLDEST.0,
            OLDEST.1
        );
        if self.settings.remote.transport() == Transport::Ssh {
            program.other("ssh", ["-V"]).ended()?;
        }
        Ok(said.to_string())
    }

    /// Says whether a private key opens without a passphrase, which nobody would be there to type.
    pub fn opens(&self, key: &Path) -> Result<bool> {
        let program = self.program(Access::none())?;
        let words = ["-y", "-P", "", "-f"].map(OsString::from);
        let words = words.into_iter().chain([std::path::absolute(key)?.into_os_string()]);
        let ended = program.other("ssh-keygen", words).ended()?;
        match ended.status.success() {
            true => Ok(true),
            false if ended.said.contains("passphrase") => Ok(false),
            false => Err(anyhow::anyhow!(reason(&ended.said, ended.status))),
        }
    }

    /// Asks the remote for the branch's tip. `None` if it has no such branch.
    pub fn tip(&self) -> Result<Option<String>> {
        let Settings { config, remote, .. } = self.settings;
        let program = self.program(Access::new(self.settings)?)?;
        // No repository: one that others left in a directory above is none of ours.
        let git_dir = format!("--git-dir={}", self.home.path().display());
        let upload_pack = upload_pack(remote);
        let reference = config.branch.reference();
        let words = [&*git_dir, "ls-remote", "--quiet"];
        let words = words.into_iter().chain(upload_pack.as_deref());
        let words = words.chain(["--", remote.as_str(), &reference]);
        let said = program.other("git", words).answer()?;
        let tip = said.lines().find_map(|line| {
            let (id, name) = line.split_once('\t')?;
            (name == reference && is_id(id)).then(|| id.to_owned())
        });
        Ok(tip)
    }
}

/// The first two numbers of a version; `None` for one that nobody foresaw.
fn version(said: &str) -> Option<(u32, u32)> {
    let mut parts = said.split('.').map(|part| {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..end].parse().ok()
    });
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_read_as_git_writes_them() {
        for (said, expected) in [
            ("2.39.5", Some((2, 39))),
            ("2.34.1 (Apple Git-1)", Some((2, 34))),
            ("2.9.GIT", Some((2, 9))),
            ("2.48-rc1", Some((2, 48))),
            ("next", None),
            ("", None),
        ] {
            assert_eq!(version(said), expected, "{said}");
        }
        assert!(version("2.9.3").unwrap() < OLDEST && version("3.0").unwrap() > OLDEST);
    }

    proptest! {
        #[test]
        fn no_version_panics(said in any::<String>()) {
            let _ = version(&said);
        }
    }
}
