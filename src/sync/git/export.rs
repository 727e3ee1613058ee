//! Writes the files of a commit to a fresh folder, as they are: no filter, no conversion of line
//! ends, no attribute of the repository touches them.

use std::fs::DirBuilder;
use std::fs::OpenOptions;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use tempfile::TempDir;

use super::reason::reason;
use super::repository::Repository;
use super::tree;
use super::tree::Entry;
use super::tree::Kind;

/// The folder. Always the same, so that a reason which names it stays the same.
const FOLDER: &str = "fleet";

/// The beginning of a file whose content is somewhere else (Git LFS). Such files are small.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";
const LFS_LEN: u64 = 1024;

/// Writes the entries to a fresh folder in `dir`.
pub(super) fn write(repository: &Repository<'_>, entries: &[Entry], dir: &Path) -> Result<TempDir> {
    // A killed run may have left it.
    let folder = dir.join(FOLDER);
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", folder.display()));
        }
        _ => {}
    }
    let made = tempfile::Builder::new().prefix(FOLDER).rand_bytes(0).tempdir_in(dir);
    let temporary = made.with_context(|| format!("cannot write in {}", dir.display()))?;
    let folder = temporary.path();
    let mut dirs = DirBuilder::new();
    dirs.recursive(true).mode(0o700);
    // Directories first, then files, then links: nothing is written through a link.
    for entry in entries {
        if let Some((above, _)) = entry.path.rsplit_once('/') {
            dirs.create(folder.join(above)).with_context(|| format!("cannot make {above}"))?;
        }
    }
    let mut ids = tempfile::tempfile_in(dir)?;
    let listed: String = entries.iter().map(|entry| entry.id.clone() + "\n").collect();
    ids.write_all(listed.as_bytes())?;
    io::Seek::rewind(&mut ids)?;
    let mut refused = None;
    let cat = repository.program.git(["cat-file", "--batch", "--buffer"]).stdin(ids);
    let ended = cat.read(|stdout| {
        copy(stdout, entries, folder).map_err(|error| {
            refused = Some(error);
            io::Error::other("refused")
        })
    })?;
    match (refused, ended.read) {
        // A file that is cut off is git's failure.
        (Some(error), _) if ended.said.is_empty() => Err(error),
        (None, Ok(())) if ended.status.success() => Ok(temporary),
        (Some(error), _) => Err(error.context(reason(&ended.said, ended.status))),
        _ => bail!(reason(&ended.said, ended.status)),
    }
}

/// Copies one object after the other: `ID TYPE SIZE\n`, the bytes, `\n`.
fn copy(stdout: &mut dyn Read, entries: &[Entry], folder: &Path) -> Result<()> {
    let (mut stdout, mut links) = (BufReader::with_capacity(256 * 1024, stdout), Vec::new());
    for entry in entries {
        let Entry { kind, id, size, path } = entry;
        let mut head = String::new();
        (&mut stdout).take(200).read_line(&mut head)?;
        let expected = format!("{id} blob {size}\n");
        ensure!(head == expected, "git does not have {path} as it was listed");
        let mut content = (&mut stdout).take(*size);
        match kind {
            Kind::Link => {
                let mut target = Vec::new();
                content.read_to_end(&mut target)?;
                tree::check_link(path, &target)?;
                links.push((path, target));
            }
            Kind::File | Kind::Executable => {
                let mode = if *kind == Kind::Executable { 0o700 } else { 0o600 };
                write_file(&mut content, *size, path, &folder.join(path), mode)?;
            }
        }
        ensure!(content.limit() == 0, "git ended within {path}");
        let mut end = [0];
        stdout.read_exact(&mut end)?;
    }
    for (path, target) in links {
        let target = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&target);
        symlink(target, folder.join(path)).with_context(|| format!("cannot make {path}"))?;
    }
    Ok(())
}

fn write_file(
    content: &mut impl Read,
    size: u64,
    name: &str,
    path: &Path,
    mode: u32,
) -> Result<()> {
    let mut head = Vec::new();
    if size <= LFS_LEN {
        content.by_ref().take(LFS.len() as u64).read_to_end(&mut head)?;
        ensure!(
            head != LFS,
            "{name} is a pointer of Git LFS and not the file itself: name the file by URL and \
             SHA-256, or put it into the repository"
        );
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = file.with_context(|| format!("cannot write {name}"))?;
    file.write_all(&head)?;
    io::copy(content, &mut file).with_context(|| format!("cannot write {name}"))?;
    Ok(())
}
