//! Unpacks a layer into a directory, in the form that overlayfs stacks: whiteouts become devices
//! 0:0, opaque directories an attribute.
//!
//! The archive is foreign. Nothing that it says can reach outside of the directory: the kernel
//! resolves each parent directory within it (`openat2` with `RESOLVE_IN_ROOT`), and the last
//! component of a name is never followed. A name with `..` is refused. Devices are created, as
//! containerd does it; roots are mounted with `nodev`, as Podman does it, so nobody can open them.

mod archive;
mod calls;
mod describe;
mod name;
mod packing;
mod pax;
mod sparse;
mod tree;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::io;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use archive::Archive;
use archive::Entry;
use rustix::fs::fstatvfs;
use rustix::io::Errno;
use tree::Tree;

use super::steps::Steps;
use crate::foreign::Foreign;

/// Most entries of a layer. The largest images have some hundred thousand.
pub const MAX_ENTRIES: u64 = 4_000_000;

/// Bytes after the end of an archive that are read: what `tar` pads with, and more.
const MAX_TRAILER: u64 = 64 << 20;

/// Bytes between two looks at the room on the drive.
const LOOK_EVERY: u64 = 4 << 20;

/// Limits of a layer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of all files, those of holes too.
    pub bytes: u64,
    /// Bytes that stay free on the drive.
    pub leave: u64,
}

/// The outcome of a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    pub entries: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// True if the archive says who owns the topmost directory.
    pub root: bool,
    /// True if the layer hides everything below it.
    pub opaque: bool,
    /// Directories that the archive has something in, but does not describe. Sorted.
    pub implicit: Vec<Vec<u8>>,
}

/// A reason why a layer was not unpacked.
#[derive(Debug)]
pub enum Flaw {
    /// The layer is at fault.
    Bad(String),
    /// There is no more room.
    Full,
    /// The drive is at fault.
    Drive { what: &'static str, source: io::Error },
}

impl Flaw {
    fn entry(name: &[u8], why: &str) -> Self {
        Self::Bad(format!("{}: {why}", Foreign::from_bytes(name)))
    }

    fn drive(what: &'static str, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        match Errno::from_io_error(&source) {
            Some(Errno::NOSPC | Errno::DQUOT) => Self::Full,
            _ => Self::Drive { what, source },
        }
    }
}

/// Unpacks the layer that `packed` reads (plain tar, gzip or zstd) into the empty directory `into`.
pub fn unpack(
    packed: impl Read,
    into: BorrowedFd<'_>,
    limits: &Limits,
    steps: &dyn Steps,
) -> Result<Unpacked, Flaw> {
    // Decoders wrap errors of the drive in their own.
    let failed = Rc::new(RefCell::new(None));
    let packed = Watched { inner: packed, failed: Rc::clone(&failed) };
    let result = unpack_all(packed, into, limits, steps);
    match failed.take() {
        Some(source) => Err(Flaw::drive("read", source)),
        None => result,
    }
}

fn unpack_all(
    packed: impl Read,
    into: BorrowedFd<'_>,
    limits: &Limits,
    steps: &dyn Steps,
) -> Result<Unpacked, Flaw> {
    let plain = packing::open(packed).map_err(|error| unreadable(&error))?;
    let mut archive = Archive::new(plain);
    let mut tree = Tree::new(into, steps)?;
    let mut room = Room { into, limits, bytes: 0, looked: 0 };
    room.look()?;
    let mut entries = 0;
    while let Some(entry) = archive.next()? {
        entries += 1;
        if entries > limits.entries {
            return Err(Flaw::Bad(format!("it has more than {} entries", limits.entries)));
        }
        tree.add(&entry, &mut Content { archive: &mut archive, room: &mut room })?;
    }
    let trailer = archive.drain(MAX_TRAILER)?;
    if trailer > MAX_TRAILER {
        return Err(Flaw::Bad(format!("more than {MAX_TRAILER} bytes follow its end")));
    }
    let mut unpacked = tree.finish()?;
    (unpacked.entries, unpacked.bytes) = (entries, room.bytes);
    Ok(unpacked)
}

/// The bytes of one entry, counted.
struct Content<'a, 'r, R> {
    archive: &'a mut Archive<R>,
    room: &'a mut Room<'r>,
}

impl<R: Read> Content<'_, '_, R> {
    /// Fills `buffer` as far as the entry goes.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Flaw> {
        let read = self.archive.read(buffer)?;
        self.room.take(read as u64)?;
        Ok(read)
    }
}

/// The room that is left on the drive and in the limits.
struct Room<'a> {
    into: BorrowedFd<'a>,
    limits: &'a Limits,
    bytes: u64,
    looked: u64,
}

impl Room<'_> {
    fn take(&mut self, bytes: u64) -> Result<(), Flaw> {
        self.bytes += bytes;
        if self.bytes > self.limits.bytes {
            return Err(Flaw::Full);
        }
        if self.bytes - self.looked >= LOOK_EVERY {
            self.looked = self.bytes;
            self.look()?;
        }
        Ok(())
    }

    fn look(&self) -> Result<(), Flaw> {
        let stat = fstatvfs(self.into).map_err(|error| Flaw::drive("look at", error))?;
        // A file system in memory without a limit has no blocks.
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if stat.f_blocks > 0 && free < self.limits.leave { Err(Flaw::Full) } else { Ok(()) }
    }
}

/// Notes the errors of the drive that the archive is read from.
struct Watched<R> {
    inner: R,
    failed: Rc<RefCell<Option<io::Error>>>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                *self.failed.borrow_mut() = Some(io::Error::new(error.kind(), error.to_string()));
            }
        })
    }
}

/// An archive that its decoder cannot read.
fn unreadable(error: &io::Error) -> Flaw {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return Flaw::Bad("it is cut short".to_owned());
    }
    Flaw::Bad(format!("it cannot be unpacked: {}", Foreign::new(&error.to_string())))
}

/// True if the entry's name or content is at fault, not the drive.
fn is_fault_of_entry(errno: Errno) -> bool {
    [
        Errno::NAMETOOLONG,
        Errno::LOOP,
        Errno::NOTDIR,
        Errno::ISDIR,
        Errno::INVAL,
        Errno::EXIST,
        Errno::MLINK,
        Errno::NOENT,
        Errno::XDEV,
        Errno::FBIG,
        Errno::OVERFLOW,
        Errno::ILSEQ,
    ]
    .contains(&errno)
}

/// An error of the system while `entry` was made.
fn failed(entry: &Entry, what: &'static str, errno: Errno) -> Flaw {
    if is_fault_of_entry(errno) {
        return Flaw::entry(&entry.name, &io::Error::from(errno).to_string());
    }
    Flaw::drive(what, errno)
}
