//! Owner, attributes, mode and time of files, as an entry of the archive describes them.

use std::os::fd::BorrowedFd;

use rustix::fs::AtFlags;
use rustix::fs::Gid;
use rustix::fs::Mode;
use rustix::fs::Timespec;
use rustix::fs::Timestamps;
use rustix::fs::Uid;
use rustix::fs::XattrFlags;
use rustix::fs::chmodat;
use rustix::fs::chownat;
use rustix::fs::fchmod;
use rustix::fs::fchown;
use rustix::fs::fsetxattr;
use rustix::fs::utimensat;
use rustix::io::Errno;

use super::Flaw;
use super::archive::Entry;
use super::failed;
use super::pax::Time;

/// Longest attributes of one file together. ext4 keeps no more than a block, or 64 kB.
const MAX_XATTRS: usize = 64 * 1024;

/// Owner, attributes and mode, in the order in which none undoes another.
pub(super) fn describe(entry: &Entry, file: BorrowedFd<'_>) -> Result<(), Flaw> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    fchown(file, Some(uid), Some(gid)).map_err(|error| failed(entry, "change", error))?;
    let size: usize = entry.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > MAX_XATTRS {
        return Err(Flaw::entry(&entry.name, "its extended attributes are too long"));
    }
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| is_kept(name)) {
        match fsetxattr(file, &name[..], value, XattrFlags::empty()) {
            // Not every file system has them.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            // ext4 says so when they do not fit into a block.
            Err(Errno::NOSPC | Errno::TOOBIG | Errno::RANGE) if size > 1024 => {
                return Err(Flaw::entry(&entry.name, "its extended attributes are too long"));
            }
            Err(error) => return Err(failed(entry, "set an attribute of", error)),
        }
    }
    let mode = Mode::from_bits_retain(entry.mode);
    fchmod(file, mode).map_err(|error| failed(entry, "change", error))
}

/// Owner, mode and time of what cannot be opened.
pub(super) fn describe_at(
    entry: &Entry,
    parent: BorrowedFd<'_>,
    name: &[u8],
    mode: bool,
) -> Result<(), Flaw> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| failed(entry, "change", error))?;
    if mode {
        // It was made a moment ago, and is no link.
        chmodat(parent, name, Mode::from_bits_retain(entry.mode), AtFlags::empty())
            .map_err(|error| failed(entry, "change", error))?;
    }
    utimensat(parent, name, &timestamps(entry.modified), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| failed(entry, "set the time of", error))
}

/// Attributes that a layer may set. Those of overlayfs would change what the layers below show, and
/// those of security modules belong to the machine that built the image.
fn is_kept(name: &[u8]) -> bool {
    name == b"security.capability"
        || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay.")) && !name.contains(&0)
}

/// Both times of a file. What a file system cannot hold, it clamps.
pub(super) fn timestamps(time: Time) -> Timestamps {
    let time = Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}
