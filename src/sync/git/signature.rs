//! Verifies that the tip was signed by somebody who may change the fleet. Runs `git verify-commit`.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use super::commit::Commit;
use super::program::Program;
use super::repository::Repository;
use crate::foreign::Foreign;
use crate::store::files;
use crate::store::layout;

/// The beginning of a file of OpenPGP keys, as `gpg --armor --export` writes it.
const OPENPGP: &[u8] = b"-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// Fails unless `commit` has a good signature of one of the keys in the file `signers`: either the
/// allowed signers of ssh-keygen(1), or OpenPGP keys.
pub(super) fn ensure(repository: &Repository<'_>, commit: &Commit, signers: &Path) -> Result<()> {
    let signers = std::path::absolute(signers)?;
    let cannot =
        || format!("cannot read {}, which [sync] allowed-signers names", signers.display());
    let keys = files::read(&signers).with_context(cannot)?;
    ensure!(
        keys.iter().any(|byte| !byte.is_ascii_whitespace()),
        "{}, which [sync] allowed-signers names, is empty: nobody may sign",
        signers.display()
    );
    let program = &repository.program;
    let run = program.git(["verify-commit", &commit.id]);
    let run = match keys.starts_with(OPENPGP) {
        true => {
            import(program, &signers)?;
            run.config("gpg.program", "gpg")
        }
        false => run
            .config("gpg.ssh.program", "ssh-keygen")
            .config("gpg.ssh.allowedSignersFile", OsString::from(&signers)),
    };
    let ended = run.ended()?;
    if ended.status.success() {
        return Ok(());
    }
    let said = ended.said.lines().rfind(|line| !line.trim().is_empty());
    let said = said.map_or_else(
        || "it has no signature".to_owned(),
        |said| format!("git says: {}", Foreign::shorter(said, 200)),
    );
    bail!(
        "commit {} by {} is not signed by anybody in {} ({said})",
        commit.source().short(),
        commit.author,
        signers.display()
    )
}

/// Makes a keyring of these keys alone.
fn import(program: &Program, signers: &Path) -> Result<()> {
    let home = program.home().join("gnupg");
    match fs::remove_dir_all(&home) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    files::create_dir(&home, layout::PRIVATE_DIR)?;
    let file = signers.as_os_str();
    let args =
        ["--batch", "--quiet", "--no-autostart", "--no-options", "--import"].map(OsString::from);
    let run = program.other("gpg", args.into_iter().chain([file.to_owned()]));
    run.answer().map(drop).with_context(|| format!("cannot use {}", signers.display()))
}
