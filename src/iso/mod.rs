//! Boot images: one hybrid file that starts as a CD and as a USB stick, under BIOS and under UEFI
//! on x86-64.
//!
//! An image is an ISO 9660 file system with a Master Boot Record in front. BIOS starts isolinux,
//! which loads `IPXE.LKRN`. UEFI starts the iPXE in `EFI.IMG`, a FAT file system. Both run the same
//! script, because the directory record of `AUTOEXEC.IPXE` points into `EFI.IMG`. So there is only
//! one slot to seal.
//!
//! [`sources`] and [`compile`] read and write files, [`stick`] disks. Everything else is pure: bytes in, bytes out.
//! An image does not depend on the clock, the user or the directory.

mod base;
mod compare;
pub mod compile;
mod fat;
mod mbr;
mod read;
mod seal;
pub mod sources;
pub mod stick;
mod verify;
mod volume;

pub use base::Error as BaseError;
pub use base::Inputs;
pub use base::base;
pub use compare::AtHand;
pub use read::Error as ReadError;
pub use seal::Error as SealError;
pub use seal::seal;
pub use seal::uses_ecdsa;
pub use verify::Error as VerifyError;
pub use verify::Report;
pub use verify::SealedIdentity;
pub use verify::verify;

/// Block size of ISO 9660, and cluster size of the FAT file system in it.
const BLOCK: usize = 2048;
/// Sector size of a disk.
const SECTOR: usize = 512;

/// Reads `N` bytes at an offset, if the data is long enough.
fn bytes_at<const N: usize>(data: &[u8], offset: usize) -> Option<[u8; N]> {
    data.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

/// Reads a little-endian 32-bit number at an offset, if the data is long enough.
fn word_at(data: &[u8], offset: usize) -> Option<usize> {
    bytes_at(data, offset).map(|bytes| u32::from_le_bytes(bytes) as usize)
}

/// Reads a little-endian 16-bit number at an offset, if the data is long enough.
fn half_at(data: &[u8], offset: usize) -> Option<usize> {
    bytes_at(data, offset).map(|bytes| usize::from(u16::from_le_bytes(bytes)))
}
