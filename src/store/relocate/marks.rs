//! Files that tell of a move, so that it can be finished, and so that whoever looks for the state
//! hears where it is. Touches the disk.

use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use super::super::files;
use super::super::layout;
use super::super::layout::COPYING;
use super::super::layout::FORMAT;
use super::super::layout::MOVED;
use super::super::layout::RETIRED;
use super::super::lock;

/// Longest path that is read from a mark.
const LONGEST: u64 = 4096;

/// In the state's directory, but not in a copy of it.
pub(super) const NOT_COPIED: [&str; 4] = [FORMAT, MOVED, RETIRED, COPYING];

/// The reason for a directory without `format` to be no state, if it is a move.
pub(in crate::store) fn why_there_is_none(dir: &Path) -> Option<String> {
    let shown = dir.display();
    if let Ok(Some(to)) = read(dir, MOVED) {
        let to = to.display();
        return Some(match dir.join(RETIRED).exists() {
            true => format!(
                "the move of {shown} to {to} was interrupted: `farmgate --state {shown} state move \
                 {to}` finishes it"
            ),
            false => format!(
                "the state was moved from {shown} to {to}: name that in --state or FARMGATE_STATE"
            ),
        });
    }
    let from = read(dir, COPYING).ok().flatten()?;
    let from = from.display();
    Some(format!(
        "{shown} holds an unfinished copy of the state {from}: `farmgate --state {from} state move \
         {shown}` makes it anew, or finishes it"
    ))
}

fn read(dir: &Path, name: &str) -> Result<Option<PathBuf>> {
    let path = dir.join(name);
    match files::read_end(&path, LONGEST) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        bytes => {
            let mut bytes = bytes.with_context(|| format!("cannot read {}", path.display()))?;
            bytes.pop_if(|last| *last == b'\n');
            Ok(Some(OsString::from_vec(bytes).into()))
        }
    }
}

fn line(path: &Path) -> Vec<u8> {
    let mut bytes = path.as_os_str().as_bytes().to_vec();
    bytes.push(b'\n');
    bytes
}

/// The directory to which the state `from` was being moved when it had ceased to be one.
pub(super) fn unfinished(from: &Path) -> Result<Option<PathBuf>> {
    if from.join(FORMAT).exists() || !from.join(RETIRED).exists() {
        return Ok(None);
    }
    read(from, MOVED)
}

/// Keeps others from finishing the same move.
pub(super) fn lock_retired(from: &Path) -> Result<File> {
    let path = from.join(RETIRED);
    let file = File::open(&path).with_context(|| format!("cannot lock {}", path.display()))?;
    lock::take(&file, &path, Duration::ZERO)?;
    Ok(file)
}

/// Marks `to` as an unfinished copy of `from`.
pub(super) fn begin(to: &Path, from: &Path) -> Result<()> {
    let text = line(from);
    files::export(&to.join(COPYING), layout::PRIVATE, |file| file.write_all(&text))
}

/// Says whether `to` is an unfinished copy of `from`.
pub(super) fn is_copy_of(to: &Path, from: &Path) -> Result<bool> {
    Ok(!to.join(FORMAT).exists() && names(to, from)?)
}

fn names(to: &Path, from: &Path) -> Result<bool> {
    Ok(read(to, COPYING)?.is_some_and(|copied| copied == from))
}

/// Fails unless `to` is a copy of `from`, or the state that it became: what is left in `from` will be
/// removed.
pub(super) fn ensure_copy_of(from: &Path, to: &Path, left: &[OsString]) -> Result<()> {
    let marks = [MOVED, RETIRED];
    let is_done = left.iter().all(|name| marks.iter().any(|mark| name == mark));
    ensure!(
        names(to, from)? || (is_done && to.join(FORMAT).exists()),
        "it is no copy of {0}. Is its disk mounted? If the copy is gone for good, `mv {0}/{RETIRED} \
         {0}/{FORMAT}` makes the old directory the state again",
        from.display()
    );
    Ok(())
}

/// Notes in the state `from` that it will be in `to`.
pub(super) fn name(from: &Path, to: &Path) -> Result<()> {
    let text = line(to);
    files::replace(&from.join(MOVED), layout::PUBLIC, |file| file.write_all(&text))
}

/// The same in the new directory `from`, after everything in it was renamed.
pub(super) fn leave(from: &Path, to: &Path) -> Result<()> {
    let text = line(to);
    files::export(&from.join(MOVED), layout::PUBLIC, |file| file.write_all(&text))
}

/// From now on `from` is no state.
pub(super) fn retire(from: &Path) -> Result<()> {
    let (format, retired) = (from.join(FORMAT), from.join(RETIRED));
    fs::rename(&format, &retired)
        .and_then(|()| files::sync_parent(&format))
        .with_context(|| format!("cannot rename {}", format.display()))
}

/// From now on `to` is the state.
pub(super) fn go_live(from: &Path, to: &Path) -> Result<()> {
    let (format, retired) = (to.join(FORMAT), from.join(RETIRED));
    let bytes =
        files::read(&retired).with_context(|| format!("cannot read {}", retired.display()))?;
    if format.exists() {
        return Ok(());
    }
    files::replace(&format, layout::PUBLIC, |file| file.write_all(&bytes))
}

/// The last step, when nothing else is left in `from`.
pub(super) fn end(from: &Path, to: &Path) -> Result<()> {
    // In this order: as long as the move counts as unfinished, the copy is known.
    for mark in [to.join(COPYING), from.join(RETIRED)] {
        files::remove_if_there(&mark)
            .and_then(|()| files::sync_parent(&mark))
            .with_context(|| format!("cannot remove {}", mark.display()))?;
    }
    Ok(())
}
