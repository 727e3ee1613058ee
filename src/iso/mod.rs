//! The boot media: one hybrid file that starts as CD and as USB stick, under
//! BIOS and under UEFI on x86-64.
//!
//! The image is ISO 9660 with a Master Boot Record in front. BIOS starts
//! isolinux, which loads `IPXE.LKRN`; UEFI starts the iPXE in `EFI.IMG`, a FAT
//! file system. Both then run the same script: the directory record of
//! `AUTOEXEC.IPXE` points into `EFI.IMG`, so there is one slot to seal.
//!
//! All but [`sources`] and [`compile`] is pure: bytes in, bytes out. Nothing in
//! an image depends on clock, user or folder.

mod base;
mod compare;
pub mod compile;
mod fat;
mod mbr;
mod read;
mod seal;
pub mod sources;
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
pub use verify::verify;

/// Logical block of ISO 9660, and cluster of the FAT file system in it.
const BLOCK: usize = 2048;
/// Sector of a disk.
const SECTOR: usize = 512;

/// Reads `N` bytes at an offset, if they are there.
fn bytes_at<const N: usize>(data: &[u8], offset: usize) -> Option<[u8; N]> {
    data.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

/// Reads a little-endian word at an offset, if it is there.
fn word_at(data: &[u8], offset: usize) -> Option<usize> {
    bytes_at(data, offset).map(|bytes| u32::from_le_bytes(bytes) as usize)
}

/// Reads a little-endian half-word at an offset, if it is there.
fn half_at(data: &[u8], offset: usize) -> Option<usize> {
    bytes_at(data, offset).map(|bytes| usize::from(u16::from_le_bytes(bytes)))
}
