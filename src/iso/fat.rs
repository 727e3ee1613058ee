//! `EFI.IMG`: a FAT file system with iPXE where UEFI looks for a boot loader
//! on removable media (UEFI specification, section 3.5.1.1), and its script.

use std::io::Cursor;
use std::io::Write;
use std::ops::Range;

use fatfs::FileSystem;
use fatfs::FormatVolumeOptions;
use fatfs::FsOptions;
use memchr::memmem;

use super::BLOCK;
use super::SECTOR;
use super::half_at;
use super::word_at;

const SCRIPT: &str = "autoexec.ipxe";
const BOOT_FOLDER: &str = "EFI/BOOT";
const BOOT_LOADER: &str = "EFI/BOOT/BOOTX64.EFI";
/// Fixed, so that equal content means equal bytes.
const VOLUME_ID: u32 = 0x6661_726d;
const DIR_ENTRY: usize = 32;

/// The file system, and where in it the script stands.
pub(super) struct EfiImage {
    pub(super) bytes: Vec<u8>,
    pub(super) script: Range<usize>,
}

/// Makes the file system. The script stands in one piece at a multiple of
/// [`BLOCK`], so that ISO 9660 can point at it.
pub(super) fn build(script: &[u8], loader: &[u8]) -> std::io::Result<EfiImage> {
    let folders = 2;
    let clusters = script.len().div_ceil(BLOCK) + loader.len().div_ceil(BLOCK) + folders;
    for root_sectors in 1..=4 {
        // Boot sector, one table of 12-bit entries, root directory.
        let table = (clusters + 2).div_ceil(2) * 3;
        let before = 1 + table.div_ceil(SECTOR) + root_sectors;
        let mut bytes = vec![0; before * SECTOR + clusters * BLOCK];
        fatfs::format_volume(
            Cursor::new(&mut bytes),
            FormatVolumeOptions::new()
                .bytes_per_sector(SECTOR as u16)
                .bytes_per_cluster(BLOCK as u32)
                .total_sectors((before + clusters * BLOCK / SECTOR) as u32)
                .max_root_dir_entries((root_sectors * SECTOR / DIR_ENTRY) as u16)
                .fats(1)
                .fat_type(fatfs::FatType::Fat12)
                .volume_id(VOLUME_ID)
                .volume_label(*b"FARMGATE   "),
        )?;
        let aligned = Fat::read(&bytes).is_some_and(|fat| fat.data.is_multiple_of(BLOCK));
        if !aligned {
            continue;
        }
        fill(&mut bytes, script, loader)?;
        let at = memmem::find(&bytes, script).filter(|at| at.is_multiple_of(BLOCK));
        let start = at.ok_or_else(|| std::io::Error::other("the script is in pieces"))?;
        return Ok(EfiImage { bytes, script: start..start + script.len() });
    }
    Err(std::io::Error::other("no layout puts the data at a block's start"))
}

fn fill(bytes: &mut Vec<u8>, script: &[u8], loader: &[u8]) -> std::io::Result<()> {
    let disk = FileSystem::new(Cursor::new(bytes), FsOptions::new())?;
    let root = disk.root_dir();
    root.create_file(SCRIPT)?.write_all(script)?;
    root.create_dir("EFI")?;
    root.create_dir(BOOT_FOLDER)?;
    root.create_file(BOOT_LOADER)?.write_all(loader)?;
    drop(root);
    disk.unmount()
}

/// The boot loader and the place of the script in a FAT file system that
/// anybody may have made.
pub(super) fn read(bytes: &[u8]) -> Option<(Vec<u8>, Range<usize>)> {
    let fat = Fat::read(bytes)?;
    let root = bytes.get(fat.root.clone())?;
    let script = entry(root, b"AUTOEX~1IPX").or_else(|| entry(root, b"AUTOEXECIPX"))?;
    let start = fat.cluster(script.first)?;
    let script = start..start.checked_add(script.len).filter(|end| *end <= bytes.len())?;
    let mut folder = root.to_vec();
    for name in [b"EFI        ", b"BOOT       "] {
        let entry = entry(&folder, name)?;
        folder = fat.chain(bytes, entry.first, None)?;
    }
    let loader = entry(&folder, b"BOOTX64 EFI")?;
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

    /// The content of a file of known length, or of a folder to its end.
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

/// Finds a file by its short name.
fn entry(folder: &[u8], name: &[u8; 11]) -> Option<Entry> {
    const LONG_NAME: u8 = 0x0f;
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
            assert_eq!(image.script.start % BLOCK, 0);
            assert_eq!(image.bytes.len() % SECTOR, 0);
            let (found, place) = read(&image.bytes).unwrap();
            assert_eq!((found, place), (loader, image.script));
        }
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
