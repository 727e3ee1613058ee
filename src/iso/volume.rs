//! Writes an ISO 9660 file system (ECMA-119) with an El Torito boot catalog: one directory, plain
//! names, and nothing that changes from run to run. Pure: bytes in, bytes out.

use super::BLOCK;
use super::SECTOR;

const SYSTEM_AREA: usize = 16;
const BOOT_RECORD: usize = 17;
const TERMINATOR: usize = 18;
const PATH_TABLE_L: usize = 19;
const PATH_TABLE_M: usize = 20;
const ROOT: usize = 21;
const CATALOG: usize = 22;
const FIRST_FILE: usize = 23;

/// 1980-01-01, the first day that FAT can express, in both formats of ISO 9660.
const RECORD_DATE: [u8; 7] = [80, 1, 1, 0, 0, 0, 0];
const VOLUME_DATE: &[u8; 17] = b"1980010100000000\0";

/// A file to be written to the volume.
pub(super) struct File {
    /// The ISO 9660 name: `NAME.EXT;1`.
    pub(super) name: &'static str,
    pub(super) content: Vec<u8>,
}

/// A file with its position.
pub(super) struct Placed {
    pub(super) name: &'static str,
    pub(super) block: usize,
    pub(super) len: usize,
}

/// Lays out the files one after the other, from the first free block.
pub(super) fn place(files: &[File]) -> Vec<Placed> {
    let mut next = FIRST_FILE;
    files
        .iter()
        .map(|file| {
            let block = next;
            next += file.content.len().div_ceil(BLOCK);
            Placed { name: file.name, block, len: file.content.len() }
        })
        .collect()
}

/// Writes the volume. `placed` says where each of `contents` goes, in the same order. `names` are
/// the entries of the directory.
pub(super) fn write(
    contents: &[File],
    placed: &[Placed],
    names: &[Placed],
    bios: usize,
    efi: (usize, usize),
) -> Vec<u8> {
    let end = placed.iter().map(|file| file.block + file.len.div_ceil(BLOCK)).max();
    let blocks = end.unwrap_or(FIRST_FILE);
    let mut image = vec![0; blocks * BLOCK];
    for (file, place) in contents.iter().zip(placed) {
        put(&mut image, place.block, &file.content);
    }
    put(&mut image, SYSTEM_AREA, &primary_descriptor(blocks));
    put(&mut image, BOOT_RECORD, &boot_record());
    put(&mut image, TERMINATOR, b"\xffCD001\x01");
    put(&mut image, PATH_TABLE_L, &path_table((ROOT as u32).to_le_bytes(), 1u16.to_le_bytes()));
    put(&mut image, PATH_TABLE_M, &path_table((ROOT as u32).to_be_bytes(), 1u16.to_be_bytes()));
    put(&mut image, ROOT, &folder(names));
    put(&mut image, CATALOG, &catalog(bios, efi));
    image
}

/// The directory entry of the boot catalog itself.
pub(super) fn catalog_file() -> Placed {
    Placed { name: "BOOT.CAT;1", block: CATALOG, len: BLOCK }
}

fn put(image: &mut [u8], block: usize, content: &[u8]) {
    image[block * BLOCK..][..content.len()].copy_from_slice(content);
}

/// A number in both byte orders (ECMA-119, 7.3.3).
fn both32(value: usize) -> [u8; 8] {
    let mut both = [0; 8];
    both[..4].copy_from_slice(&(value as u32).to_le_bytes());
    both[4..].copy_from_slice(&(value as u32).to_be_bytes());
    both
}

fn both16(value: u16) -> [u8; 4] {
    let mut both = [0; 4];
    both[..2].copy_from_slice(&value.to_le_bytes());
    both[2..].copy_from_slice(&value.to_be_bytes());
    both
}

/// The primary volume descriptor (ECMA-119, 8.4).
fn primary_descriptor(blocks: usize) -> Vec<u8> {
    const PATH_TABLE_LEN: usize = 10;
    let mut descriptor = vec![0; BLOCK];
    let mut at = |offset: usize, bytes: &[u8]| {
        descriptor[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    at(0, b"\x01CD001\x01");
    at(8, &[b' '; 64]);
    at(40, b"FARMGATE");
    at(80, &both32(blocks));
    at(120, &both16(1));
    at(124, &both16(1));
    at(128, &both16(BLOCK as u16));
    at(132, &both32(PATH_TABLE_LEN));
    at(140, &(PATH_TABLE_L as u32).to_le_bytes());
    at(148, &(PATH_TABLE_M as u32).to_be_bytes());
    at(156, &record(&[0], ROOT, BLOCK, true));
    at(190, &[b' '; 623]);
    at(574, b"FARMGATE");
    for offset in [813, 830] {
        at(offset, VOLUME_DATE);
    }
    for offset in [847, 864] {
        at(offset, b"0000000000000000\0");
    }
    at(881, &[1]);
    descriptor
}

/// The boot record (El Torito 1.0, section 2.0).
fn boot_record() -> Vec<u8> {
    let mut record = b"\0CD001\x01EL TORITO SPECIFICATION".to_vec();
    record.resize(71, 0);
    record.extend_from_slice(&(CATALOG as u32).to_le_bytes());
    record
}

fn path_table(root: [u8; 4], parent: [u8; 2]) -> Vec<u8> {
    [&[1, 0][..], &root, &parent, &[0, 0]].concat()
}

/// A directory record (ECMA-119, 9.1).
fn record(name: &[u8], block: usize, len: usize, folder: bool) -> Vec<u8> {
    let size = (33 + name.len()).next_multiple_of(2);
    let mut record = vec![size as u8, 0];
    record.extend_from_slice(&both32(block));
    record.extend_from_slice(&both32(len));
    record.extend_from_slice(&RECORD_DATE);
    record.extend_from_slice(&[if folder { 2 } else { 0 }, 0, 0]);
    record.extend_from_slice(&both16(1));
    record.push(name.len() as u8);
    record.extend_from_slice(name);
    record.resize(size, 0);
    record
}

fn folder(names: &[Placed]) -> Vec<u8> {
    let mut sorted: Vec<_> = names.iter().collect();
    sorted.sort_by_key(|file| file.name);
    let mut folder = [record(&[0], ROOT, BLOCK, true), record(&[1], ROOT, BLOCK, true)].concat();
    for file in sorted {
        folder.extend(record(file.name.as_bytes(), file.block, file.len, false));
    }
    debug_assert!(folder.len() <= BLOCK);
    folder
}

/// The boot catalog (El Torito 1.0, sections 2.1 to 2.4). Platform 0xEF is UEFI (UEFI
/// specification, section 13.3.2.1).
fn catalog(bios: usize, (efi, efi_len): (usize, usize)) -> Vec<u8> {
    let mut validation = [0u8; 32];
    validation[0] = 1;
    validation[4..12].copy_from_slice(b"FARMGATE");
    validation[30..].copy_from_slice(&[0x55, 0xaa]);
    let sum = validation
        .chunks_exact(2)
        .fold(0u16, |sum, pair| sum.wrapping_add(u16::from_le_bytes([pair[0], pair[1]])));
    validation[28..30].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    let mut section = [0; 32];
    section[..4].copy_from_slice(&[0x91, 0xef, 1, 0]);
    let efi_sectors = efi_len.div_ceil(SECTOR);
    [validation, boot_entry(bios, 4), section, boot_entry(efi, efi_sectors)].concat()
}

/// A bootable entry without floppy or disk emulation.
fn boot_entry(block: usize, sectors: usize) -> [u8; 32] {
    let mut entry = [0; 32];
    entry[0] = 0x88;
    entry[6..8].copy_from_slice(&u16::try_from(sectors).unwrap_or(0).to_le_bytes());
    entry[8..12].copy_from_slice(&(block as u32).to_le_bytes());
    entry
}
