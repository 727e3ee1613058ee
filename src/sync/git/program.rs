//! The `git` program as it is run here: its environment, its configuration and its limits.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::access::Access;
use super::child;
use super::child::Ended;
use super::reason::reason;
use crate::config::Transport;
use crate::store::files;
use crate::store::layout;
use crate::store::owner;

/// Most bytes of memory of each program: a packed object may claim any size.
const MEMORY: u64 = 2 << 30;

/// The most that the repository's server may send, as a multiple of the folder's size: history.
const HISTORY: u64 = 4;

/// Most bytes of an answer that is read at once.
const ANSWER: u64 = 64 * 1024;

/// Sets the limits, which the program cannot raise again, and becomes the program. There is no other
/// way to set them without unsafe code.
const LIMITED: &str =
    "ulimit -c 0 && ulimit -f \"$1\" && ulimit -v \"$2\" && shift 2 && exec \"$@\"";

/// Configuration of every run. None other is read, apart from that of the repository in
/// `STATE/sync`, which farmgate made.
const CONFIG: &[(&str, &str)] = &[
    // Nothing that is executed.
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.askPass", ""),
    ("core.pager", "cat"),
    ("credential.helper", ""),
    ("gpg.program", "false"),
    ("gpg.x509.program", "false"),
    ("gpg.ssh.program", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    // Nothing from elsewhere.
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("transfer.bundleURI", "false"),
    ("transfer.credentialsInUrl", "die"),
    ("http.followRedirects", "initial"),
    // Every object is looked at before it is kept.
    ("transfer.fsckObjects", "true"),
    ("fetch.fsckObjects", "true"),
    // These two are old and harmless.
    ("fetch.fsck.zeroPaddedFilemode", "ignore"),
    ("fetch.fsck.badTimezone", "ignore"),
    ("fetch.unpackLimit", "1"),
    // Little memory, whatever the objects are.
    ("core.bigFileThreshold", "1m"),
    ("core.packedGitWindowSize", "16m"),
    ("core.packedGitLimit", "128m"),
    ("core.deltaBaseCacheLimit", "32m"),
    ("pack.threads", "1"),
    // A silent server is given up before the whole time is over.
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "60"),
    // Answers that are read by this program.
    ("log.showSignature", "false"),
    ("log.mailmap", "false"),
    ("i18n.logOutputEncoding", "UTF-8"),
    ("advice.detachedHead", "false"),
    ("init.defaultBranch", "main"),
];

/// Variables of this process that git gets: where programs are, and how to get out to the network.
const KEPT: &[&str] = &[
    "PATH",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "TMPDIR",
];

/// Everything that git needs besides its arguments.
pub(super) struct Program {
    /// The home directory, empty.
    home: PathBuf,
    repository: PathBuf,
    transport: Transport,
    access: Access,
    timeout: Duration,
    most_bytes: u64,
    stop: CancellationToken,
}

impl Program {
    pub(super) fn new(settings: &Settings<'_>, access: Access) -> Result<Self> {
        let home = settings.dir.join("home");
        files::create_dir(&home, layout::PRIVATE_DIR)?;
        Self::at(&home, settings, access)
    }

    /// The same with a home that is there already, and is empty.
    pub(super) fn at(home: &Path, settings: &Settings<'_>, access: Access) -> Result<Self> {
        Ok(Self {
            home: std::path::absolute(home)?,
            repository: std::path::absolute(settings.dir.join("repository.git"))?,
            transport: settings.remote.transport(),
            access,
            timeout: settings.config.timeout,
            most_bytes: settings.config.max_size.bytes().saturating_mul(HISTORY),
            stop: settings.stop.clone(),
        })
    }

    /// The repository here.
    pub(super) fn repository(&self) -> &Path {
        &self.repository
    }

    /// A program of the same user, in the same environment, with the same limits.
    fn limited(&self, program: &str, config: &[(&str, OsString)]) -> Command {
        let mut command = Command::new("/bin/sh");
        let blocks = (self.most_bytes / 512).max(2048);
        command
            .args(["-c", LIMITED, "farmgate"])
            .args([blocks.to_string(), (MEMORY / 1024).to_string()])
            .arg(program)
            .env_clear()
            .envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .env("HOME", &self.home)
            .env("GNUPGHOME", self.home.join("gnupg"))
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("SSH_ASKPASS_REQUIRE", "never")
            .env("GIT_ALLOW_PROTOCOL", self.transport.protocol())
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_LFS_SKIP_SMUDGE", "1")
            .env("GIT_SSH_VARIANT", "ssh")
            .env("GIT_SSH_COMMAND", self.access.ssh_command())
            .current_dir(&self.home)
            .stdin(Stdio::null());
        let fixed = CONFIG.iter().map(|(key, value)| (*key, OsString::from(value)));
        let access =
            self.access.config().iter().map(|(key, value)| (&**key, OsString::from(value)));
        let given = config.iter().map(|(key, value)| (*key, value.clone()));
        let mut count = 0;
        for (at, (key, value)) in fixed.chain(access).chain(given).enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{at}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{at}"), value);
            count = at + 1;
        }
        command.env("GIT_CONFIG_COUNT", count.to_string());
        // Root's rights are not for programs that read what others wrote.
        if let Some((user, group)) = owner::for_programs() {
            command.uid(user).gid(group);
        }
        command
    }

    /// Starts git on the repository here.
    pub(super) fn git<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run<'_> {
        let mut git_dir = OsString::from("--git-dir=");
        git_dir.push(&self.repository);
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        let args = std::iter::once(git_dir).chain(args).collect();
        Run { program: self, name: "git", args, config: Vec::new(), stdin: None }
    }

    /// Starts another program in the same way.
    pub(super) fn other<S: AsRef<OsStr>>(
        &self,
        name: &'static str,
        args: impl IntoIterator<Item = S>,
    ) -> Run<'_> {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        Run { program: self, name, args, config: Vec::new(), stdin: None }
    }

    /// The directory that programs take for the user's own.
    pub(super) fn home(&self) -> &Path {
        &self.home
    }
}

/// One run of a program.
pub(super) struct Run<'a> {
    program: &'a Program,
    name: &'static str,
    args: Vec<OsString>,
    config: Vec<(&'static str, OsString)>,
    stdin: Option<File>,
}

impl Run<'_> {
    /// Adds configuration for this run.
    pub(super) fn config(mut self, key: &'static str, value: impl Into<OsString>) -> Self {
        self.config.push((key, value.into()));
        self
    }

    /// Gives a file as stdin.
    pub(super) fn stdin(mut self, file: File) -> Self {
        self.stdin = Some(file);
        self
    }

    /// Runs it, and reads its stdout by `read`.
    pub(super) fn read<T>(
        self,
        read: impl FnOnce(&mut dyn Read) -> io::Result<T>,
    ) -> Result<Ended<T>> {
        let Self { program, name, args, config, stdin } = self;
        let mut command = program.limited(name, &config);
        command.args(&args);
        if let Some(file) = stdin {
            command.stdin(file);
        }
        let what = args.iter().filter_map(|arg| arg.to_str()).find(|arg| !arg.starts_with('-'));
        let what = format!("{name} {}", what.unwrap_or_default());
        let deadline = Instant::now() + program.timeout;
        let ended = child::run(&mut command, deadline, &program.stop, read);
        let ended = ended.map_err(|error| match error {
            child::Error::TooLong => anyhow!(
                "{what} did not end within {} seconds ([sync] timeout): it was ended",
                program.timeout.as_secs()
            ),
            error => anyhow::Error::from(error).context(what.clone()),
        })?;
        // The shell's own word for a program that is not there.
        if ended.status.code() == Some(127) {
            bail!(
                "there is no program `{name}` here: install it (Debian's package {})",
                package(name)
            );
        }
        Ok(ended)
    }

    /// Runs it, and returns how it ended, with its short answer.
    pub(super) fn ended(self) -> Result<Ended<String>> {
        self.read(|stdout| {
            let mut bytes = Vec::new();
            stdout.take(ANSWER).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        })
    }

    /// Runs it, and returns its short answer; fails if it did.
    pub(super) fn answer(self) -> Result<String> {
        let ended = self.ended()?;
        match ended.status.success() {
            true => ended.read.context("cannot read what git says"),
            false => bail!(reason(&ended.said, ended.status)),
        }
    }
}

fn package(program: &str) -> &str {
    match program {
        "gpg" => "gpg",
        "ssh" | "ssh-keygen" => "openssh-client",
        _ => "git",
    }
}
