//! Reads ISO 9660 images. The file is untrusted, so every offset is checked. Pure: bytes in, values
//! out.

use std::ops::Range;

use super::BLOCK;
use super::bytes_at;
use super::mbr;
use super::word_at;

use crate::foreign::Foreign;

const DESCRIPTOR: usize = 16 * BLOCK;
const BOOT_RECORD: usize = 17 * BLOCK;
const ROOT_RECORD: usize = DESCRIPTOR + 156;

/// An ISO 9660 image with its directory and boot catalog.
pub(super) struct Image<'a> {
    bytes: &'a [u8],
    files: Vec<(String, Range<usize>)>,
    bios: Option<usize>,
    efi: Option<usize>,
}

pub(super) fn is_iso9660(bytes: &[u8]) -> bool {
    bytes_at(bytes, DESCRIPTOR) == Some(*b"\x01CD001")
}

/// The length that the image claims in its volume descriptor.
pub(super) fn volume_len(bytes: &[u8]) -> Option<usize> {
    let blocks = is_iso9660(bytes).then(|| word_at(bytes, DESCRIPTOR + 80)).flatten()?;
    blocks.checked_mul(BLOCK)
}

impl<'a> Image<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        if bytes.is_empty() {
            return Err(Error::Empty);
        }
        if !is_iso9660(bytes) {
            return Err(Error::NotIso9660);
        }
        let size = word_at(bytes, DESCRIPTOR + 80).and_then(|blocks| blocks.checked_mul(BLOCK));
        let need = size.ok_or(Error::NotIso9660)?;
        if need > bytes.len() {
            return Err(Error::Truncated { need, have: bytes.len() });
        }
        let (_, root) = record(bytes, ROOT_RECORD).ok_or(Error::Damaged)?;
        let files = folder(bytes, root).ok_or(Error::Damaged)?;
        let (bios, efi) = catalog(bytes).unwrap_or_default();
        Ok(Self { bytes, files, bios, efi })
    }

    /// Position of a file, by its name without the version.
    pub(super) fn place(&self, name: &'static str) -> Result<Range<usize>, Error> {
        let found = self.files.iter().find(|(file, _)| file == name);
        found.map(|(_, place)| place.clone()).ok_or(Error::Missing { name })
    }

    pub(super) fn file(&self, name: &'static str) -> Result<&'a [u8], Error> {
        Ok(&self.bytes[self.place(name)?])
    }

    /// The ways in which firmware can start this image.
    pub(super) fn boot_paths(&self) -> BootPaths {
        let block = |name| self.place(name).ok().map(|place| place.start / BLOCK);
        let isolinux = block("ISOLINUX.BIN");
        let efi = block("EFI.IMG");
        BootPaths {
            bios_cd: isolinux.is_some() && self.bios == isolinux,
            uefi_cd: efi.is_some() && self.efi == efi,
            bios_usb: isolinux.is_some_and(|block| mbr::starts_isolinux(self.bytes, block)),
            uefi_usb: efi.is_some()
                && mbr::efi_partition(self.bytes) == efi.and_then(|b| b.checked_mul(BLOCK)),
        }
    }
}

/// The kinds of firmware that find something to start, by medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BootPaths {
    pub(super) bios_cd: bool,
    pub(super) uefi_cd: bool,
    pub(super) bios_usb: bool,
    pub(super) uefi_usb: bool,
}

/// Name and position of the file whose directory record begins at an offset.
fn record(bytes: &[u8], offset: usize) -> Option<(String, Range<usize>)> {
    let start = word_at(bytes, offset + 2)?.checked_mul(BLOCK)?;
    let end = start.checked_add(word_at(bytes, offset + 10)?)?;
    let name_len = usize::from(*bytes.get(offset + 32)?);
    let name = bytes.get(offset + 33..offset + 33 + name_len)?;
    let name = Foreign::from_bytes(name.split(|byte| *byte == b';').next()?).to_string();
    (end <= bytes.len()).then_some((name, start..end))
}

fn folder(bytes: &[u8], place: Range<usize>) -> Option<Vec<(String, Range<usize>)>> {
    const MOST_FILES: usize = 256;
    let mut files = Vec::new();
    let mut offset = place.start;
    while offset < place.end && files.len() < MOST_FILES {
        match usize::from(*bytes.get(offset)?) {
            // A record never crosses the end of a block.
            0 => offset = (offset + 1).next_multiple_of(BLOCK),
            len => {
                files.push(record(bytes, offset)?);
                offset += len;
            }
        }
    }
    Some(files)
}

/// The blocks that BIOS and UEFI start, from the El Torito catalog.
fn catalog(bytes: &[u8]) -> Option<(Option<usize>, Option<usize>)> {
    const ENTRY: usize = 32;
    const MOST_ENTRIES: usize = 64;
    const BOOTABLE: u8 = 0x88;
    const EFI: u8 = 0xef;
    if bytes_at(bytes, BOOT_RECORD)? != *b"\0CD001\x01EL TORITO SPECIFICATION" {
        return None;
    }
    let start = word_at(bytes, BOOT_RECORD + 71)?.checked_mul(BLOCK)?;
    let entry = |index: usize| bytes_at::<ENTRY>(bytes, start.checked_add(index * ENTRY)?);
    let block = |entry: &[u8; ENTRY]| (entry[0] == BOOTABLE).then(|| word_at(entry, 8)).flatten();
    if entry(0)?[..2] != [1, 0] {
        return None;
    }
    let bios = block(&entry(1)?);
    let mut index = 2;
    while index < MOST_ENTRIES {
        let header = entry(index)?;
        if !matches!(header[0], 0x90 | 0x91) {
            break;
        }
        if header[1] == EFI {
            return Some((bios, block(&entry(index + 1)?)));
        }
        index += 1 + usize::from(u16::from_le_bytes([header[2], header[3]]));
    }
    Some((bios, None))
}

/// The reason for an image not to be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the file is empty")]
    Empty,
    #[error("not an ISO 9660 image")]
    NotIso9660,
    #[error("the image is truncated: it has {have} of {need} bytes")]
    Truncated {
        /// Length that the image claims.
        need: usize,
        /// Length of the file.
        have: usize,
    },
    #[error("the image is damaged: its folder cannot be read")]
    Damaged,
    #[error("no {name} found: not an image that farmgate made")]
    Missing { name: &'static str },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn survives_any_bytes(
            rest in prop::collection::vec(any::<u8>(), 0..5 * BLOCK),
            words in prop::collection::vec((0usize..2500, any::<u32>()), 0..20),
        ) {
            let mut bytes = vec![0; DESCRIPTOR];
            bytes.extend(rest);
            let mut put = |at: usize, what: &[u8]| {
                if let Some(place) = bytes.get_mut(at..at + what.len()) {
                    place.copy_from_slice(what);
                }
            };
            put(DESCRIPTOR, b"\x01CD001");
            put(DESCRIPTOR + 80, &18u32.to_le_bytes());
            put(ROOT_RECORD + 2, &19u32.to_le_bytes());
            put(ROOT_RECORD + 10, &2048u32.to_le_bytes());
            put(BOOT_RECORD, b"\0CD001\x01EL TORITO SPECIFICATION");
            put(BOOT_RECORD + 71, &18u32.to_le_bytes());
            for (at, word) in words {
                put(DESCRIPTOR + at, &word.to_le_bytes());
            }
            if let Ok(image) = Image::read(&bytes) {
                image.boot_paths();
            }
        }
    }

    #[test]
    fn other_files_are_refused_by_what_they_are() {
        assert_eq!(Image::read(b"").err(), Some(Error::Empty));
        assert_eq!(Image::read(&[0; 40_000]).err(), Some(Error::NotIso9660));
    }
}
