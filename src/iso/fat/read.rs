//! Reads the FAT12 file system of `EFI.IMG`. The bytes are untrusted, so every offset is checked.

use std::ops::Range;

use super::BOOT;
use super::DIR_ENTRY;
use super::EFI;
use super::LOADER;
use super::LONG_NAME;
use super::SCRIPT_SHORT;
use super::SECTOR;
use crate::iso::half_at;
use crate::iso::word_at;
/// Reads the boot loader and the position of the script from an untrusted FAT file system.
pub(in crate::iso) fn read(bytes: &[u8]) -> Option<(Vec<u8>, Range<usize>)> {
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
