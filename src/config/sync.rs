//! `[sync]`: the git repository that describes the fleet. Pure.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::Deserializer;

use super::git_remote::GitRemote;
use super::period;
use super::size::Size;
use super::text::parsed;

/// The git repository that describes the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Sync {
    /// Its address. Without it, nothing is brought in.
    pub remote: Option<GitRemote>,
    /// The branch whose tip describes the fleet.
    pub branch: Branch,
    /// The fleet folder within the repository. Without it, the whole repository.
    pub folder: Option<RepoFolder>,
    /// The time between two looks at the remote.
    #[serde(deserialize_with = "period::deserialize_positive")]
    pub interval: Duration,
    /// Longest time that one run of git may take.
    #[serde(deserialize_with = "period::deserialize_positive")]
    pub timeout: Duration,
    /// File with user name and password for HTTPS, mode 0600.
    pub credentials: Option<PathBuf>,
    /// The CA of the remote's certificate, if it is not a public one.
    pub ca: Option<PathBuf>,
    /// Private key for ssh, mode 0600.
    pub ssh_key: Option<PathBuf>,
    /// The host keys that ssh accepts. Without it, `STATE/sync/known_hosts` and those of the system.
    pub known_hosts: Option<PathBuf>,
    /// File with the secret that a forge signs its requests with, mode 0600.
    pub webhook_secret: Option<PathBuf>,
    /// File of the keys of which one must have signed the tip. Without it, any commit on the branch is taken.
    pub allowed_signers: Option<PathBuf>,
    /// Refuses a tip that does not descend from the last good one.
    pub fast_forward_only: bool,
    /// Most bytes in the folder's files. The repository may have four times as many.
    pub max_size: Size,
}

impl Default for Sync {
    fn default() -> Self {
        Self {
            remote: None,
            branch: Branch("main".to_owned()),
            folder: None,
            interval: Duration::from_secs(5 * 60),
            timeout: Duration::from_secs(5 * 60),
            credentials: None,
            ca: None,
            ssh_key: None,
            known_hosts: None,
            webhook_secret: None,
            allowed_signers: None,
            fast_forward_only: false,
            max_size: Size::of(1_000_000_000),
        }
    }
}

const BRANCH: &str = "a branch, such as \"main\": letters, digits and ._-/ between them";

/// The name of a branch, without `refs/heads/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch(String);

impl Branch {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The full name of the reference.
    pub fn reference(&self) -> String {
        format!("refs/heads/{}", self.0)
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text cannot be used as this kind of name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} cannot be used: expected {expected}")]
pub struct ParseNameError {
    text: String,
    expected: &'static str,
}

impl FromStr for Branch {
    type Err = ParseNameError;

    /// Takes a part of what git takes (`git check-ref-format`).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let part = |part: &str| {
            !part.is_empty()
                && !part.starts_with(['.', '-'])
                && !part.ends_with('.')
                && !part.ends_with(".lock")
                && !part.contains("..")
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-+#".contains(c))
        };
        match text.len() <= 200 && text.split('/').all(part) {
            true => Ok(Self(text.to_owned())),
            false => Err(ParseNameError { text: text.to_owned(), expected: BRANCH }),
        }
    }
}

impl<'de> Deserialize<'de> for Branch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, BRANCH)
    }
}

const FOLDER: &str = "a folder within the repository, such as \"farm/fleet\"";

/// A folder within the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoFolder(String);

impl RepoFolder {
    /// Its path, without slashes at the ends.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RepoFolder {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = text.strip_suffix('/').unwrap_or(text);
        let part = |part: &str| {
            !matches!(part, "" | "." | "..")
                && !part.contains(|c: char| c.is_control() || c == '\\')
        };
        match path.len() <= 1000 && path.split('/').all(part) {
            true => Ok(Self(path.to_owned())),
            false => Err(ParseNameError { text: text.to_owned(), expected: FOLDER }),
        }
    }
}

impl<'de> Deserialize<'de> for RepoFolder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, FOLDER)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_every_key() {
        let sync: Sync = toml::from_str(
            r#"
            remote = "git@github.com:farm/fleet.git"
            branch = "release/2.x"
            folder = "farm/fleet/"
            interval = "1m"
            timeout = "30s"
            credentials = "/etc/farmgate/sync.toml"
            ca = "/etc/farmgate/git-ca.pem"
            ssh-key = "/etc/farmgate/sync.key"
            known-hosts = "/etc/farmgate/known_hosts"
            webhook-secret = "/etc/farmgate/webhook"
            allowed-signers = "/etc/farmgate/signers"
            fast-forward-only = true
            max-size = "2GB"
            "#,
        )
        .unwrap();
        assert_eq!(sync.branch.reference(), "refs/heads/release/2.x");
        assert_eq!(sync.folder.unwrap().as_str(), "farm/fleet");
        assert_eq!((sync.max_size.bytes(), sync.fast_forward_only), (2_000_000_000, true));
        assert!(toml::from_str::<Sync>("key = 'x'").is_err());
    }

    #[test]
    fn names_are_names_and_no_options_or_ways_out() {
        for good in ["main", "release/2.x", "user/fix-1", "a+b"] {
            assert_eq!(good.parse::<Branch>().unwrap().as_str(), good);
        }
        for bad in [
            "", "-x", "a/", "/a", "a//b", "a..b", ".a", "a.lock", "a b", "a~1", "a^", "a:b", "a*",
            "a@{1}", "\u{e9}",
        ] {
            assert!(bad.parse::<Branch>().is_err(), "{bad}");
        }
        for good in ["fleet", "a/b c/\u{e9}"] {
            assert_eq!(good.parse::<RepoFolder>().unwrap().as_str(), good);
        }
        for bad in ["", "/", "/a", "a//b", "..", "a/../b", "./a", "a\nb"] {
            assert!(bad.parse::<RepoFolder>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = (text.parse::<Branch>(), text.parse::<RepoFolder>());
        }
    }
}
