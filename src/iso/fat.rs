//! Writes and reads `EFI.IMG`: a FAT12 file system that holds iPXE, where UEFI looks for a boot
//! loader on removable media (UEFI specification, section 3.5.1.1), and iPXE's script. Pure: bytes
//! in, bytes out.
//!
//! This is our own code because the position of each file matters, and because the one existing
//! crate gives "." and ".." long names, which `fsck.fat` reports as damage.

use std::ops::Range;

use super::BLOCK;
use super::SECTOR;
use super::half_at;
use super::word_at;

/// Fixed, so that equal content gives equal bytes.
const VOLUME_ID: u32 = 0x6661_726d;
const LABEL: &[u8; 11] = b"FARMGATE   ";
/// The long name, and its short form below.
const SCRIPT: &[u8; 13] = b"autoexec.ipxe";
const SCRIPT_SHORT: &[u8; 11] = b"AUTOEX~1IPX";
const EFI: &[u8; 11] = b"EFI        ";
const BOOT: &[u8; 11] = b"BOOT       ";
const LOADER: &[u8; 11] = b"BOOTX64 EFI";

const DIR_ENTRY: usize = 32;
const TABLES: usize = 2;
/// A FAT12 file system has at most this many clusters.
const MOST_CLUSTERS: usize = 4084;
const FIRST_CLUSTER: usize = 2;

const FILE: u8 = 0x20;
const FOLDER: u8 = 0x10;
const VOLUME: u8 = 0x08;
const LONG_NAME: u8 = 0x0f;
/// 1980-01-01, the first day that FAT can express.
const DATE: u16 = 0x21;

/// The file system, and the position of the script in it.
pub(super) struct EfiImage {
    pub(super) bytes: Vec<u8>,
    pub(super) script: Range<usize>,
}

/// Builds the file system: the script, two directories and the loader, in this order. The script
/// begins at a multiple of [`BLOCK`], so that ISO 9660 can point at it. Returns `None` if the
/// content does not fit into FAT12.
pub(super) fn build(script: &[u8], loader: &[u8]) -> Option<EfiImage> {
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

/// Reads the boot loader and the position of the script from an untrusted FAT file system.
pub(super) fn read(bytes: &[u8]) -> Option<(Vec<u8>, Range<usize>)> {
    let fat = Fat::read(bytes)?;
    let root = bytes.get(fat.root.clone())?;
    let script = entry(root, SCRIPT_SHORT)?;
    let start = fat.cluster(script.first)?;
    let script = start..start.checked_add(script.len).filter(|end| *end <= bytes.len())?;
    let mut folder = root.to_vec();
    for name in [EFI, BOOT] {
        let entry = entry(&folder, name)?;
        folder = fat.chain(bytes, entry.first, None)?;
    }
    let loader = entry(&folder, LOADER)?;
    Some((fat.chain(bytes, loader.first, Some(loader.len))?, script))
}

/// The geometry of a FAT12 file system.
struct Fat {
    table: usize,
    root: Range<usize>,
    data: usize,
    cluster: usize,
    clusters: usize,
}

impl Fat {
    fn read(bytes: &[u8]) -> Option<Self> {
        let sector = half_at(bytes, 11).filter(|size| *size == SECTOR)?;
        let cluster = usize::from(*bytes.get(13)?) * sector;
        let table = half_at(bytes, 14)? * sector;
        let tables = usize::from(*bytes.get(16)?) * half_at(bytes, 22)? * sector;
        let root = table + tables;
        let data = root + (half_at(bytes, 17)? * DIR_ENTRY).next_multiple_of(sector);
        let clusters = bytes.len().checked_sub(data)?.checked_div(cluster)?;
        Some(Self { table, root: root..data, data, cluster, clusters })
    }

    fn cluster(&self, number: usize) -> Option<usize> {
        let index = number.checked_sub(2).filter(|index| *index < self.clusters)?;
        Some(self.data + index * self.cluster)
    }

    fn next(&self, bytes: &[u8], number: usize) -> Option<usize> {
        let pair = half_at(bytes, self.table + number + number / 2)?;
        Some(if number.is_multiple_of(2) { pair & 0xfff } else { pair >> 4 })
    }

    /// The content of a file of known length, or of a directory up to its end.
    fn chain(&self, bytes: &[u8], first: usize, len: Option<usize>) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        let mut number = first;
        // A chain longer than the file system is a loop.
        for _ in 0..self.clusters {
            let start = self.cluster(number)?;
            content.extend_from_slice(bytes.get(start..start + self.cluster)?);
            number = self.next(bytes, number)?;
            if number >= 0xff8 || len.is_some_and(|len| content.len() >= len) {
                break;
            }
        }
        match len {
            Some(len) if content.len() < len => None,
            Some(len) => {
                content.truncate(len);
                Some(content)
            }
            None => Some(content),
        }
    }
}

struct Entry {
    first: usize,
    len: usize,
}

/// Finds a directory entry by its short name.
fn entry(folder: &[u8], name: &[u8; 11]) -> Option<Entry> {
    let entry = folder
        .chunks_exact(DIR_ENTRY)
        .take_while(|entry| entry[0] != 0)
        .find(|entry| entry[11] & LONG_NAME != LONG_NAME && entry[..11] == *name)?;
    Some(Entry { first: half_at(entry, 26)?, len: word_at(entry, 28)? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_it_writes_whatever_the_sizes() {
        for loader_len in [1, 2047, 2048, 700_000, 1_000_000, 1_050_000, 1_400_000] {
            let loader: Vec<u8> = (0..loader_len).map(|i| (i % 251) as u8).collect();
            let script = vec![b'#'; 13_000];
            let image = build(&script, &loader).unwrap();
            assert_eq!(&image.bytes[image.script.clone()], script);
            assert_eq!(image.script.start % BLOCK, 0);
            assert_eq!(image.bytes.len() % SECTOR, 0);
            let (found, place) = read(&image.bytes).unwrap();
            assert_eq!((found, place), (loader, image.script));
        }
    }

    #[test]
    fn what_is_too_large_is_refused() {
        assert!(build(b"#!ipxe\n", &vec![0; MOST_CLUSTERS * BLOCK]).is_none());
        assert!(build(b"#!ipxe\n", &vec![0; (MOST_CLUSTERS - 3) * BLOCK]).is_some());
    }

    proptest! {
        #[test]
        fn survives_damage(places in prop::collection::vec((0usize..8000, any::<u8>()), 1..40)) {
            let mut bytes = build(b"#!ipxe\n", &[7; 9000]).unwrap().bytes;
            for (place, byte) in places {
                let len = bytes.len();
                bytes[place % len] = byte;
            }
            let _ = read(&bytes);
        }

        #[test]
        fn survives_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let _ = read(&bytes);
        }
    }
}
