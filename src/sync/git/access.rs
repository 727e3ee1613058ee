//! Credentials of git for the remote, and keys and certificates of the remote. Reads the credentials.
//!
//! A password is in no argument, no file of ours and no variable: git asks a helper for it, and that
//! reads a file in memory which only programs that git starts have open. It is given for the
//! remote's own scheme, host and port; a redirect to elsewhere gets nothing. For ssh, git starts
//! OpenSSH with our options and without the user's configuration and agent.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use anyhow::ensure;
use rustix::fs::MemfdFlags;
use serde::Deserialize;

use super::Settings;
use crate::config::GitRemote;
use crate::config::Transport;
use crate::store::files;
use crate::store::layout;

/// Names of the systemd credentials.
const PASSWORD: &str = "sync";
const KEY: &str = "sync-key";

/// Settings that the runs of git have in common.
pub(super) struct Access {
    config: Vec<(String, String)>,
    ssh: String,
    /// Open as long as a helper may read it.
    _secret: Option<File>,
}

/// User name and password for HTTPS.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Login {
    username: String,
    password: String,
}

impl Access {
    pub(super) fn new(settings: &Settings<'_>) -> Result<Self> {
        let (mut config, mut secret) = (Vec::new(), None);
        if let Some(ca) = &settings.config.ca {
            config.push(("http.sslCAInfo".to_owned(), text(ca)?));
        }
        if let Some(origin) = settings.remote.http_origin() {
            let found = files::read_secret(
                settings.config.credentials.as_deref(),
                settings.systemd,
                PASSWORD,
            )?;
            if let Some((path, toml)) = found.filter(|(_, text)| !text.trim().is_empty()) {
                let file = in_memory(&read(&path, &toml)?)?;
                let helper = helper(&file);
                config.push((format!("credential.{origin}.helper"), helper));
                secret = Some(file);
            }
        }
        let ssh = match settings.remote.transport() {
            Transport::Ssh => ssh(settings)?,
            _ => "false".to_owned(),
        };
        Ok(Self { config, ssh, _secret: secret })
    }

    /// No credentials, and no way to anywhere.
    pub(super) fn none() -> Self {
        Self { config: Vec::new(), ssh: "false".to_owned(), _secret: None }
    }

    pub(super) fn config(&self) -> &[(String, String)] {
        &self.config
    }

    pub(super) fn ssh_command(&self) -> &str {
        &self.ssh
    }
}

/// The credentials, in the words of git's helpers.
fn read(path: &Path, toml: &str) -> Result<String> {
    // The parser's own words would quote the line, and the secret in it.
    let login: Login = toml::from_str(toml).map_err(|_| {
        anyhow!("{} does not hold just username = \"...\" and password = \"...\"", path.display())
    })?;
    let plain = |text: &str| !text.is_empty() && !text.contains(['\n', '\r', '\0']);
    ensure!(
        plain(&login.username) && plain(&login.password),
        "the user name or the password in {} is empty or has more than one line",
        path.display()
    );
    Ok(format!("username={}\npassword={}\n", login.username, login.password))
}

/// A file without a name, which programs that are started from now on have open as well.
fn in_memory(content: &str) -> Result<File> {
    let file = rustix::fs::memfd_create("farmgate-sync", MemfdFlags::empty());
    let mut file = File::from(file.context("cannot make a file in memory")?);
    file.write_all(content.as_bytes())?;
    Ok(file)
}

fn helper(file: &File) -> String {
    format!("!f() {{ test \"$1\" != get || cat /proc/self/fd/{}; }}; f", file.as_raw_fd())
}

/// The command for ssh, which a shell reads.
fn ssh(settings: &Settings<'_>) -> Result<String> {
    let mut options = vec![
        "BatchMode=yes".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        "UpdateHostKeys=no".to_owned(),
        "IdentityAgent=none".to_owned(),
        "IdentitiesOnly=yes".to_owned(),
        "ControlMaster=no".to_owned(),
        "ControlPath=none".to_owned(),
        "ForwardAgent=no".to_owned(),
        "ForwardX11=no".to_owned(),
        "ClearAllForwardings=yes".to_owned(),
        "PermitLocalCommand=no".to_owned(),
        "ConnectTimeout=30".to_owned(),
        "ServerAliveInterval=15".to_owned(),
        "ServerAliveCountMax=4".to_owned(),
    ];
    let own = std::path::absolute(settings.dir.join(layout::KNOWN_HOSTS))?;
    let known = settings.config.known_hosts.as_deref().unwrap_or(&own);
    options.push(format!("UserKnownHostsFile=\"{}\"", for_ssh(known)?));
    // The NixOS module puts an empty line where a credential is missing.
    let there = |path: &PathBuf| path.metadata().is_ok_and(|facts| facts.len() > 1);
    let given = settings.systemd.map(|dir| dir.join(KEY)).filter(there);
    if let Some(key) = settings.config.ssh_key.as_ref().or(given.as_ref()) {
        File::open(key).with_context(|| format!("cannot read {}", key.display()))?;
        options.push(format!("IdentityFile=\"{}\"", for_ssh(key)?));
    }
    let options: Vec<_> = options.iter().map(|option| format!("-o {}", quoted(option))).collect();
    Ok(format!("ssh -F none {}", options.join(" ")))
}

/// A path within an option of ssh, which replaces `%` and `${...}` in it.
fn for_ssh(path: &Path) -> Result<String> {
    let text = text(path)?;
    ensure!(
        !text.contains(['"', '\\', '%', '$', '\n']),
        "ssh cannot read {text:?} as a path: give the file another name"
    );
    Ok(text)
}

fn text(path: &Path) -> Result<String> {
    let path = std::path::absolute(path)?;
    path.to_str().map(str::to_owned).with_context(|| format!("{} is not UTF-8", path.display()))
}

/// One word for a shell.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The option by which git takes a repository on this machine that belongs to another user, as it
/// does when a shared one is pushed to by ssh.
pub(super) fn upload_pack(remote: &GitRemote) -> Option<String> {
    let directory = remote.directory()?;
    let word = quoted(&format!("safe.directory={}", directory.trim_end_matches('/')));
    Some(format!("--upload-pack=git -c {word} -c core.hooksPath=/dev/null upload-pack"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_password_is_read_and_never_told() {
        let path = Path::new("/etc/farmgate/sync");
        let said = read(path, "username = \"x\"\npassword = \"a b=c\"\n").unwrap();
        assert_eq!(said, "username=x\npassword=a b=c\n");
        for bad in [
            "username = \"x\"",
            "x:unmistakable",
            "username = 1\npassword = \"unmistakable\"",
            "username = \"x\"\npassword = \"unmistakable\\nurl=https://evil.example\"",
            "username = \"x\"\npassword = \"\"",
        ] {
            let error = format!("{:#}", read(path, bad).unwrap_err());
            assert!(
                error.contains("/etc/farmgate/sync") && !error.contains("unmistakable"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_helper_reads_it_as_often_as_git_asks() {
        let file = in_memory("username=x\n").unwrap();
        let script = helper(&file);
        for (asked, said) in [("get", "username=x\n"), ("get", "username=x\n"), ("erase", "")] {
            let command = format!("{} {asked}", &script[1..]);
            let output = Command::new("/bin/sh").args(["-c", &command]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), said);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]
        #[test]
        fn a_shell_reads_one_word(word in "[ -~]{0,30}") {
            let command = format!("printf %s {}", quoted(&word));
            let output = Command::new("/bin/sh").args(["-c", &command]).output().unwrap();
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }
}
