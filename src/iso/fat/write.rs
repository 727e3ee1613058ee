//! Writes the FAT12 file system of `EFI.IMG`.

use std::ops::Range;

use super::BLOCK;
use super::BOOT;
use super::DIR_ENTRY;
use super::EFI;
use super::EfiImage;
use super::LOADER;
use super::LONG_NAME;
use super::MOST_CLUSTERS;
use super::SCRIPT_SHORT;
use super::SECTOR;

/// Fixed, so that equal content gives equal bytes.
const VOLUME_ID: u32 = 0x6661_726d;
const LABEL: &[u8; 11] = b"FARMGATE   ";
/// The long name. Its short form is [`SCRIPT_SHORT`].
const SCRIPT: &[u8; 13] = b"autoexec.ipxe";
const TABLES: usize = 2;
const FIRST_CLUSTER: usize = 2;
const FILE: u8 = 0x20;
const FOLDER: u8 = 0x10;
const VOLUME: u8 = 0x08;
/// 1980-01-01, the first day that FAT can express.
const DATE: u16 = 0x21;

/// Builds the file system: the script, two directories and the loader, in this order. The script
/// begins at a multiple of [`BLOCK`], so that ISO 9660 can point at it. Returns `None` if the
/// content does not fit into FAT12.
pub(in crate::iso) fn build(script: &[u8], loader: &[u8]) -> Option<EfiImage> {
    let efi = FIRST_CLUSTER + script.len().div_ceil(BLOCK);
    let boot = efi + 1;
    let first_of_loader = boot + 1;
    let end = first_of_loader + loader.len().div_ceil(BLOCK);
    let clusters = end - FIRST_CLUSTER;
    if clusters > MOST_CLUSTERS {
        return None;
    }
    let table_sectors = (end.div_ceil(2) * 3).div_ceil(SECTOR);
    let before_root = 1 + TABLES * table_sectors;
    // Enough sectors that the data begins at the start of a block.
    let data_sector = (before_root + 1).next_multiple_of(BLOCK / SECTOR);
    let root_sectors = data_sector - before_root;
    let total = data_sector + clusters * (BLOCK / SECTOR);

    let mut bytes = boot_sector(root_sectors * SECTOR / DIR_ENTRY, total, table_sectors);
    let chains = [FIRST_CLUSTER..efi, efi..boot, boot..first_of_loader, first_of_loader..end];
    for _ in 0..TABLES {
        let mut table = table(&chains);
        table.resize(table_sectors * SECTOR, 0);
        bytes.extend(table);
    }
    let root = [
        entry_of(LABEL, VOLUME, 0, 0),
        long_name(SCRIPT, SCRIPT_SHORT),
        entry_of(SCRIPT_SHORT, FILE, FIRST_CLUSTER, script.len()),
        entry_of(EFI, FOLDER, efi, 0),
    ];
    bytes.extend(root.concat());
    bytes.resize(data_sector * SECTOR, 0);
    let mut put = |content: &[u8]| {
        let start = bytes.len();
        bytes.extend_from_slice(content);
        bytes.resize(start + content.len().next_multiple_of(BLOCK), 0);
        start..start + content.len()
    };
    let script = put(script);
    put(&folder(efi, 0, entry_of(BOOT, FOLDER, boot, 0)));
    put(&folder(boot, efi, entry_of(LOADER, FILE, first_of_loader, loader.len())));
    put(loader);
    Some(EfiImage { bytes, script })
}

/// The layout follows Microsoft's "FAT: General Overview of On-Disk Format", 1.03.
fn boot_sector(root_entries: usize, total: usize, table_sectors: usize) -> Vec<u8> {
    let mut sector = vec![0; SECTOR];
    let mut at = |offset: usize, bytes: &[u8]| {
        sector[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    at(0, b"\xeb\x3c\x90MSDOS5.0");
    at(11, &(SECTOR as u16).to_le_bytes());
    at(13, &[(BLOCK / SECTOR) as u8, 1, 0, TABLES as u8]);
    at(17, &(root_entries as u16).to_le_bytes());
    at(19, &(total as u16).to_le_bytes());
    at(21, &[0xf8]);
    at(22, &(table_sectors as u16).to_le_bytes());
    at(24, &[32, 0, 64, 0]);
    at(36, &[0x80, 0, 0x29]);
    at(39, &VOLUME_ID.to_le_bytes());
    at(43, LABEL);
    at(54, b"FAT12   ");
    // Only UEFI starts this partition, and it does not run this code.
    at(62, b"\xeb\xfe");
    at(510, &[0x55, 0xaa]);
    sector
}

/// The table of 12-bit entries. Each file is one contiguous chain.
fn table(chains: &[Range<usize>]) -> Vec<u8> {
    const END: usize = 0xfff;
    let mut entries = vec![0xff8, END];
    for chain in chains {
        entries.extend(chain.clone().map(
            |cluster| {
                if cluster + 1 == chain.end { END } else { cluster + 1 }
            },
        ));
    }
    let pack = |pair: &[usize]| {
        let pair = pair[0] | pair.get(1).unwrap_or(&0) << 12;
        [pair as u8, (pair >> 8) as u8, (pair >> 16) as u8]
    };
    entries.chunks(2).flat_map(pack).collect()
}

fn entry_of(name: &[u8; 11], kind: u8, first: usize, len: usize) -> [u8; DIR_ENTRY] {
    let mut entry = [0; DIR_ENTRY];
    entry[..11].copy_from_slice(name);
    entry[11] = kind;
    for offset in [16, 18, 24] {
        entry[offset..offset + 2].copy_from_slice(&DATE.to_le_bytes());
    }
    entry[26..28].copy_from_slice(&(first as u16).to_le_bytes());
    entry[28..].copy_from_slice(&(len as u32).to_le_bytes());
    entry
}

/// A long-name entry holds 13 characters, exactly the length of this name.
fn long_name(name: &[u8; 13], short: &[u8; 11]) -> [u8; DIR_ENTRY] {
    const LAST_AND_FIRST: u8 = 0x41;
    let mut entry = [0; DIR_ENTRY];
    entry[0] = LAST_AND_FIRST;
    entry[11] = LONG_NAME;
    entry[13] = short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain([28, 30]);
    for (place, character) in places.zip(name) {
        entry[place] = *character;
    }
    entry
}

fn folder(itself: usize, parent: usize, only: [u8; DIR_ENTRY]) -> Vec<u8> {
    let here = entry_of(b".          ", FOLDER, itself, 0);
    let above = entry_of(b"..         ", FOLDER, parent, 0);
    let mut folder = [here, above, only].concat();
    folder.resize(BLOCK, 0);
    folder
}
