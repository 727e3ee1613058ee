//! Room on the drive, and a reserve of it: a file that is given up when the drive is full, so that
//! what has to be written to mend that can be written.

use std::fs;
use std::fs::File;
use std::path::PathBuf;

use rustix::fs::FallocateFlags;
use rustix::fs::fallocate;
use rustix::fs::statfs;
use rustix::fs::statvfs;

use super::error::Error;
use super::error::Result;
use super::store::Store;

const MEBIBYTE: u64 = 1 << 20;

/// The reserve: this part of the drive, but within these bounds.
const RESERVE_PART: u64 = 64;
const LEAST_RESERVE: u64 = MEBIBYTE;
const MOST_RESERVE: u64 = 64 * MEBIBYTE;

/// Bytes that unpacking leaves free beside the reserve.
const LEAVE: u64 = 2 * MEBIBYTE;

/// Bytes of a layer where the file system does not say how large it is, as that of the initramfs.
const UNKNOWN: u64 = 4096 * MEBIBYTE;

const TMPFS: i64 = 0x0102_1994;
const RAMFS: i64 = 0x8584_58f6;

/// Bytes of the drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub size: u64,
    /// Those that may be written.
    pub free: u64,
}

impl Store {
    /// The room that there is.
    pub(super) fn room(&self) -> Result<Room> {
        let stat = statvfs(&self.root);
        let stat = stat.map_err(|error| Error::drive("look at", &self.root, error.into()))?;
        if stat.f_blocks == 0 {
            return Ok(Room { size: UNKNOWN, free: UNKNOWN });
        }
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Room { size: bytes(stat.f_blocks), free: bytes(stat.f_bavail) })
    }

    /// Bytes that unpacking a layer leaves free.
    pub(super) fn leave(&self) -> Result<u64> {
        let missing = if self.reserve().exists() { 0 } else { self.reserve_size()? };
        Ok(missing + LEAVE)
    }

    fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }

    /// 0 where a reserve makes no sense.
    fn reserve_size(&self) -> Result<u64> {
        let stat = statfs(&self.root);
        let stat = stat.map_err(|error| Error::drive("look at", &self.root, error.into()))?;
        let room = self.room()?;
        let memory = [TMPFS, RAMFS].contains(&stat.f_type);
        if memory || room.size < 16 * LEAST_RESERVE {
            return Ok(0);
        }
        Ok((room.size / RESERVE_PART).clamp(LEAST_RESERVE, MOST_RESERVE))
    }

    /// Does something that writes little. Where the drive is full, the reserve is given up for it.
    pub(super) fn spend_reserve<T>(&self, action: impl Fn() -> Result<T>) -> Result<T> {
        match action() {
            Err(error) if error.is_full() && self.reserve().exists() => {
                self.remove(&self.reserve())?;
                action()
            }
            result => result,
        }
    }

    /// Makes the reserve again where there is room for it.
    pub(super) fn fill_reserve(&self) -> Result<()> {
        let size = self.reserve_size()?;
        let path = self.reserve();
        if size == 0 || path.metadata().is_ok_and(|meta| meta.len() >= size) {
            return Ok(());
        }
        if self.room()?.free < size + LEAVE {
            return Ok(());
        }
        self.step("reserve", &path)?;
        let new = self.work("reserve.new");
        let make = || {
            let file = File::create(&new)?;
            fallocate(&file, FallocateFlags::empty(), 0, size)?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        // Without it everything works but mending.
        if let Err(error) = make() {
            tracing::warn!("there is no reserve on the drive: {error}");
            let _ = fs::remove_file(&new);
        }
        Ok(())
    }
}
