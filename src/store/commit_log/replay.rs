//! Replay: writes objects again from the lines of the log.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use super::disk::Disk;
use super::line;
use super::line::Line;
use crate::fleet::ObjectName;
use crate::store::files;

/// No line begins like this.
const NOTHING: [u8; 16] = [0; 16];

/// After a crash: writes each object that is missing or torn, makes all of them durable, and
/// empties the log. Returns how many were written. A pack may have replaced a missing object; an
/// event beside its pack adds nothing. A failed write does not stop other gateways, and its line
/// stays in the log.
pub(super) fn recover(disk: &impl Disk, half: usize, gateways: &Path) -> Result<usize> {
    let bytes = disk.read()?;
    let (mut lines, mut written, mut failed) = (0, 0, None);
    for line in bytes.chunks(half).flat_map(line::read) {
        lines += 1;
        match restore(&line, gateways) {
            Ok(restored) => written += usize::from(restored),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    if lines > 0 {
        disk.sync_objects()?;
        clear(disk, half, &[0, 1])?;
    }
    Ok(written)
}

fn restore(line: &Line<'_>, gateways: &Path) -> Result<bool> {
    let whole = held(line, gateways)?.as_deref() == Some(line.object);
    if whole { Ok(false) } else { write(line, gateways) }
}

/// After a disk error, when the objects on disk are uncertain: writes each remaining one again, and
/// empties the log.
pub(super) fn rewrite(disk: &dyn Disk, half: usize, gateways: &Path) -> Result<()> {
    ensure!(gateways.is_dir(), "{} is missing", gateways.display());
    let bytes = disk.read()?;
    for line in bytes.chunks(half).flat_map(line::read) {
        if held(&line, gateways)?.is_some() {
            write(&line, gateways)?;
        }
    }
    Ok(clear(disk, half, &[0, 1])?)
}

/// Empties halves of the log.
pub(super) fn clear(disk: &dyn Disk, half: usize, which: &[usize]) -> io::Result<()> {
    for number in which {
        disk.write(&NOTHING, number * half)?;
    }
    disk.sync()
}

fn held(line: &Line<'_>, gateways: &Path) -> Result<Option<Vec<u8>>> {
    let path = path(line, gateways);
    match files::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        bytes => bytes.map(Some).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn path(line: &Line<'_>, gateways: &Path) -> PathBuf {
    gateways.join(&line.gateway).join(ObjectName::Event(line.event).to_string())
}

/// A removed gateway's events do not come back.
fn write(line: &Line<'_>, gateways: &Path) -> Result<bool> {
    let dir = gateways.join(&line.gateway);
    if !dir.is_dir() {
        return Ok(false);
    }
    match files::replace(&path(line, gateways), 0o600, |file| file.write_all(line.object)) {
        // It was removed meanwhile.
        Err(_) if !dir.is_dir() => Ok(false),
        written => written.map(|()| true),
    }
}
