//! Calls of the system that unpacking makes in more than one place.

use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::ResolveFlags;
use rustix::fs::XattrFlags;
use rustix::fs::fsetxattr;
use rustix::fs::makedev;
use rustix::fs::openat;
use rustix::fs::openat2;
use rustix::fs::statat;
use rustix::io::Errno;
use rustix::io::pwrite;

use super::Flaw;

/// The attribute by which overlayfs knows an opaque directory.
const OPAQUE: &str = "trusted.overlay.opaque";

/// Tries to resolve a path while directories elsewhere on the machine are moved.
const RESOLVE_TRIES: u32 = 1000;

/// Opens a directory of the layer at `root`, which is the root for all links.
pub(super) fn resolve(
    root: BorrowedFd<'_>,
    path: &[u8],
    more: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let mut tries = 0;
    loop {
        match openat2(root, path, flags, Mode::empty(), within | more) {
            Err(Errno::AGAIN | Errno::INTR) if tries < RESOLVE_TRIES => tries += 1,
            result => return result,
        }
    }
}

/// A thing that a layer has of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum There {
    Directory,
    Whiteout,
    Other,
}

pub(super) fn look(parent: BorrowedFd<'_>, name: &[u8]) -> Result<There, Errno> {
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => There::Directory,
        FileType::CharacterDevice if stat.st_rdev == makedev(0, 0) => There::Whiteout,
        _ => There::Other,
    })
}

pub(super) fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

pub(super) fn set_opaque(directory: BorrowedFd<'_>) -> Result<(), Flaw> {
    fsetxattr(directory, OPAQUE, b"y", XattrFlags::empty())
        .map_err(|error| Flaw::drive("set an attribute of", error))
}

pub(super) fn write_at(
    file: BorrowedFd<'_>,
    mut bytes: &[u8],
    mut offset: u64,
) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match pwrite(file, bytes, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
