//! A disk that is read and written past the kernel's cache: what was written is on the disk, and what is
//! read comes from it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::disk::Disk;
use super::usage::number;

/// Bytes that are written and read at once; a multiple of every sector size.
pub(super) const PIECE: usize = 128 * 1024;

/// The strictest alignment that a disk asks of memory.
const ALIGNMENT: usize = 4096;

/// A medium of which the bytes at a multiple of the sector size are read and written.
pub trait Medium {
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()>;
    fn read_at(&mut self, bytes: &mut [u8], at: u64) -> io::Result<()>;
    /// Has the disk write out its own cache.
    fn flush(&mut self) -> io::Result<()>;
}

/// A whole disk that nobody else has.
pub struct RawDisk {
    file: File,
    memory: Vec<u8>,
    start: usize,
}

impl RawDisk {
    /// Opens the disk, which the kernel refuses while anybody uses it or a partition of it.
    pub fn open(disk: &Disk) -> Result<Self> {
        let name = disk.path.display();
        let flags = OFlags::RDWR | OFlags::EXCL | OFlags::DIRECT | OFlags::CLOEXEC;
        let file = match rustix::fs::open(&disk.path, flags | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::BUSY) => anyhow::bail!(
                "{name} is in use: the kernel does not say by whom; look with lsblk, and unmount it"
            ),
            Err(Errno::ACCESS | Errno::PERM) => {
                anyhow::bail!("you may not write to {name}: run this as root")
            }
            Err(Errno::ROFS) => anyhow::bail!("{name} is read-only"),
            Err(Errno::NOMEDIUM) => anyhow::bail!("there is no medium in {name}"),
            Err(error) => return Err(error).with_context(|| format!("cannot open {name}")),
        };
        let opened = number(file.metadata()?.rdev());
        ensure!(opened == disk.number, "{name} was exchanged for another disk just now: try again");
        let memory = vec![0; PIECE + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Ok(Self { file, memory, start })
    }

    fn piece(&mut self, len: usize) -> (&File, &mut [u8]) {
        (&self.file, &mut self.memory[self.start..self.start + len])
    }
}

impl Medium for RawDisk {
    fn write_at(&mut self, bytes: &[u8], mut at: u64) -> io::Result<()> {
        for part in bytes.chunks(PIECE) {
            let (file, piece) = self.piece(part.len());
            piece.copy_from_slice(part);
            file.write_all_at(piece, at)?;
            at += part.len() as u64;
        }
        Ok(())
    }

    fn read_at(&mut self, bytes: &mut [u8], mut at: u64) -> io::Result<()> {
        for part in bytes.chunks_mut(PIECE) {
            let (file, piece) = self.piece(part.len());
            file.read_exact_at(piece, at)?;
            part.copy_from_slice(piece);
            at += part.len() as u64;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }
}
