//! `farmgate state backup` and `restore`.

use std::fmt;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command as Program;
use std::process::Stdio;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use clap::error::ErrorKind;
use serde::Serialize;

use crate::cli::confirm::Confirm;
use crate::cli::confirm::Unattended;
use crate::cli::context::Context;
use crate::cli::context::now;
use crate::cli::context::stream;
use crate::cli::wrong_usage;
use crate::store::State;
use crate::store::backup;
use crate::store::backup::Restored;
use crate::store::backup::Taken;
use crate::store::outside::Existing;
use crate::store::outside::Outside;
use crate::store::owner::as_caller;

/// The first bytes of what `age` encrypts.
const AGE: &[u8] = b"age-encryption.org/";
/// The first bytes of what it encrypts with a passphrase.
const WITH_PASSPHRASE: &[u8] = b"age-encryption.org/v1\n-> scrypt ";

#[derive(clap::Args)]
#[command(after_help = "Examples:
  farmgate state backup /backup/farm.tar                     without any key
  farmgate state backup /backup/farm.age --with-keys --recipient age1...
  farmgate state backup /backup/farm.age --with-keys --recipients-file backup.pub
  farmgate state backup - | ssh other 'cat > farm.tar'")]
pub(in crate::cli) struct Backup {
    /// File to write; `-` is stdout
    file: PathBuf,
    /// Also private keys, keys of buckets and secrets templates
    #[arg(long, requires = "how")]
    with_keys: bool,
    /// Encrypt to this recipient: age1..., or an SSH public key
    #[arg(long, group = "how", value_name = "KEY")]
    recipient: Vec<String>,
    /// Encrypt to the recipients in this file
    #[arg(long, group = "how", value_name = "FILE")]
    recipients_file: Vec<PathBuf>,
    /// Encrypt with a passphrase, for which `age` asks on the terminal
    #[arg(long, group = "how", conflicts_with_all = ["recipient", "recipients_file"])]
    passphrase: bool,
    /// Do not encrypt the keys
    #[arg(long, group = "how", requires = "with_keys", conflicts_with_all = ["recipient", "recipients_file", "passphrase"])]
    keys_in_clear: bool,
    /// Replace a file that is there already
    #[arg(long)]
    force: bool,
}

#[derive(clap::Args)]
pub(in crate::cli) struct Restore {
    /// Backup to read; `-` is stdin
    file: PathBuf,
    /// File with the key that decrypts it, of `age` or SSH
    #[arg(long, value_name = "FILE")]
    identity: Vec<PathBuf>,
    #[command(flatten)]
    confirm: Confirm,
}

#[derive(Serialize)]
struct Written {
    backup: PathBuf,
    encrypted: bool,
    #[serde(flatten)]
    taken: Taken,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Taken { files, bytes, keys, elsewhere } = &self.taken;
        write!(f, "{}: {files} files, {bytes} bytes", self.backup.display())?;
        match (keys, self.encrypted) {
            (false, _) => write!(f, ", without keys and secrets templates (--with-keys)")?,
            (true, true) => write!(f, ", encrypted, with all keys")?,
            (true, false) => write!(f, ", with all keys, in clear: whoever reads it has the farm")?,
        }
        match elsewhere {
            0 => Ok(()),
            files => write!(f, "; {files} files are not on this host, and not in it"),
        }
    }
}

impl Backup {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let to_stdout = self.file == Path::new("-");
        if to_stdout && context.json {
            wrong_usage(
                &["state", "backup"],
                ErrorKind::ArgumentConflict,
                &"with --json, FILE must name a file: the backup itself would go to stdout",
            );
        }
        let state = context.state()?;
        let encrypted =
            self.passphrase || !self.recipient.is_empty() || !self.recipients_file.is_empty();
        let write = |file: Stdio| -> Result<Taken> {
            let mut age = self.age(file)?;
            let mut input = age.stdin.take().context("age takes nothing")?;
            let taken = backup::take(&state, self.with_keys, &mut input, now());
            drop(input);
            // If it failed, it has said why, and the pipe broke.
            let status = age.wait().context("cannot wait for age")?;
            ensure!(status.success(), "age failed: {status}");
            taken
        };
        if to_stdout {
            if encrypted {
                write(Stdio::inherit())?;
                return Ok(());
            }
            return stream(&mut |out| {
                backup::take(&state, self.with_keys, out, now())?;
                Ok(())
            });
        }
        let name = self.file.file_name().and_then(|name| name.to_str());
        let Some(name) = name else { bail!("{} is no name for a file", self.file.display()) };
        let parent = self.file.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = Outside::open(parent.unwrap_or(Path::new(".")))?;
        let existing = if self.force { Existing::Replace } else { Existing::Refuse };
        let mut taken = None;
        folder.write(name, 0o600, existing, |file| {
            taken = Some(match encrypted {
                true => write(file.try_clone()?.into())?,
                false => {
                    let mut out = io::BufWriter::new(file);
                    let taken = backup::take(&state, self.with_keys, &mut out, now())?;
                    out.flush()?;
                    taken
                }
            });
            Ok(())
        })?;
        let taken = taken.context("nothing was written")?;
        context.print(&Written { backup: self.file, encrypted, taken })
    }

    fn age(&self, output: Stdio) -> Result<Child> {
        let mut age = Program::new("age");
        age.arg("--encrypt");
        for recipient in &self.recipient {
            age.arg("--recipient").arg(recipient);
        }
        for file in &self.recipients_file {
            age.arg("--recipients-file").arg(file);
        }
        if self.passphrase {
            age.arg("--passphrase");
        }
        age.stdin(Stdio::piped()).stdout(output);
        as_caller(|| age.spawn()).context(NO_AGE)
    }
}

const NO_AGE: &str = "cannot run age, which encrypts: install the package `age`";

#[derive(Serialize)]
struct Done {
    state: PathBuf,
    #[serde(flatten)]
    restored: Restored,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Restored { files, bytes, keys } = &self.restored;
        write!(f, "{}: {files} files, {bytes} bytes", self.state.display())?;
        match keys {
            true => write!(f, "; `farmgate doctor` checks it"),
            false => write!(
                f,
                "; it has no keys: put pki/server.key (and pki/ca.key, token.key) back before the \
                 server starts"
            ),
        }
    }
}

impl Restore {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let question = format!("Make {} from this backup?", context.state.display());
        self.confirm.ask(&question, Unattended::GoesOn)?;
        let mut source: Box<dyn Read> = match self.file == Path::new("-") {
            true => Box::new(io::stdin().lock()),
            false => Box::new(
                File::open(&self.file)
                    .with_context(|| format!("cannot read {}", self.file.display()))?,
            ),
        };
        let restored = if self.identity.is_empty() {
            let mut head = Vec::new();
            source.by_ref().take(WITH_PASSPHRASE.len() as u64).read_to_end(&mut head)?;
            if head == WITH_PASSPHRASE && self.file != Path::new("-") {
                self.decrypted(context)
            } else {
                ensure!(
                    head != WITH_PASSPHRASE,
                    "age must ask for its passphrase: name its file in place of `-`, or decrypt it \
                     before (`age --decrypt FILE | farmgate state restore -`)"
                );
                ensure!(
                    !head.starts_with(AGE),
                    "it is encrypted: --identity FILE names the key that decrypts it"
                );
                backup::restore(&context.state, &mut (&head[..]).chain(source))
            }
        } else {
            self.decrypted(context)
        };
        let restored = restored.with_context(|| format!("cannot use {}", self.file.display()))?;
        // Says at once if something is missing.
        let state = State::open(&context.state, context.config.as_deref())?;
        // A tar file of regular files has no index, and `doctor` would miss it until the server runs.
        state.gateways().mend_index()?;
        context.print(&Done { state: context.state.clone(), restored })
    }

    fn decrypted(&self, context: &Context) -> Result<Restored> {
        let input = match self.file == Path::new("-") {
            true => Stdio::inherit(),
            false => File::open(&self.file)?.into(),
        };
        let mut age = Program::new("age");
        age.arg("--decrypt");
        for identity in &self.identity {
            age.arg("--identity").arg(identity);
        }
        let mut age = age.stdin(input).stdout(Stdio::piped()).spawn().context(NO_AGE)?;
        let mut output = age.stdout.take().context("age gives nothing")?;
        let restored = backup::restore(&context.state, &mut output);
        drop(output);
        let status = age.wait().context("cannot wait for age")?;
        // Then its own message says more than that the tar file is torn. A signal says only that
        // nobody wanted the rest.
        let failed = status.code().is_some_and(|code| code != 0);
        ensure!(restored.is_ok() || !failed, "age failed: {status}");
        restored
    }
}
