//! The Master Boot Record at the start of the image, which makes it bootable as a disk.

use sha2::Digest;
use sha2::Sha256;

use super::BLOCK;
use super::SECTOR;
use super::word_at;

/// Length of isohdpfx.bin, the code that finds and starts isolinux.
pub(super) const CODE_LEN: usize = 432;
/// Position of the field that tells this code isolinux.bin's first sector.
const ISOLINUX: usize = 432;
const DISK_ID: usize = 440;
const TABLE: usize = 446;
const ENTRY: usize = 16;
const SIGNATURE: [u8; 2] = [0x55, 0xaa];

/// Type of the partition that UEFI starts from.
const EFI_SYSTEM: u8 = 0xef;
/// The partition type of xorriso's isohybrid images: BIOS sees an active partition, and UEFI
/// ignores it. UEFI refuses a table whose partitions overlap.
const EMPTY: u8 = 0x00;

/// Writes the record into an otherwise complete image.
pub(super) fn write(image: &mut [u8], code: &[u8], isolinux_block: usize, efi_block: usize) {
    // The disk id is derived from the content: the same image has the same id, and media with
    // different iPXEs in one machine have different ones.
    let digest = Sha256::digest(&image[SECTOR..]);
    let total = image.len();
    let record = &mut image[..SECTOR];
    record[..CODE_LEN].copy_from_slice(code);
    let first_sector = (isolinux_block * (BLOCK / SECTOR)) as u32;
    record[ISOLINUX..ISOLINUX + 4].copy_from_slice(&first_sector.to_le_bytes());
    record[DISK_ID..DISK_ID + 4].copy_from_slice(&digest[..4]);
    let efi = efi_block * BLOCK / SECTOR;
    let all = total / SECTOR;
    record[TABLE..TABLE + ENTRY].copy_from_slice(&entry(0x80, EMPTY, 0, all));
    record[TABLE + ENTRY..TABLE + 2 * ENTRY].copy_from_slice(&entry(0, EFI_SYSTEM, efi, all - efi));
    record[510..].copy_from_slice(&SIGNATURE);
}

fn entry(status: u8, kind: u8, first: usize, count: usize) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry[0] = status;
    entry[1..4].copy_from_slice(&cylinder_head_sector(first));
    entry[4] = kind;
    entry[5..8].copy_from_slice(&cylinder_head_sector(first + count - 1));
    entry[8..12].copy_from_slice(&(first as u32).to_le_bytes());
    entry[12..16].copy_from_slice(&(count as u32).to_le_bytes());
    entry
}

/// The geometry of isohybrid images: 64 heads, 32 sectors.
fn cylinder_head_sector(sector: usize) -> [u8; 3] {
    let cylinder = (sector / (64 * 32)).min(1023);
    let head = sector / 32 % 64;
    [head as u8, (sector % 32 + 1) as u8 | ((cylinder >> 2) & 0xc0) as u8, cylinder as u8]
}

/// True if a BIOS would start isolinux at this block when the image is on a disk.
pub(super) fn starts_isolinux(image: &[u8], isolinux_block: usize) -> bool {
    let active = |index| image.get(TABLE + index * ENTRY) == Some(&0x80);
    image.get(510..512) == Some(&SIGNATURE)
        && image.first().is_some_and(|byte| *byte != 0)
        && word_at(image, ISOLINUX) == isolinux_block.checked_mul(BLOCK / SECTOR)
        && (0..4).any(active)
}

/// Start of the partition that UEFI starts from, in bytes.
pub(super) fn efi_partition(image: &[u8]) -> Option<usize> {
    if image.get(510..512)? != SIGNATURE {
        return None;
    }
    (0..4).map(|index| TABLE + index * ENTRY).find_map(|at| {
        (*image.get(at + 4)? == EFI_SYSTEM).then(|| word_at(image, at + 8)?.checked_mul(SECTOR))?
    })
}
