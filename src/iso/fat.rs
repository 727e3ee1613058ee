//! Writes and reads `EFI.IMG`: a FAT12 file system that holds iPXE, where UEFI looks for a boot
//! loader on removable media (UEFI specification, section 3.5.1.1), and iPXE's script. Pure: bytes
//! in, bytes out.
//!
//! This is our own code because the position of each file matters, and because the one existing
//! crate gives "." and ".." long names, which `fsck.fat` reports as damage.

mod read;
mod write;

use std::ops::Range;

use super::BLOCK;
use super::SECTOR;

pub(super) use read::read;
pub(super) use write::build;

const SCRIPT_SHORT: &[u8; 11] = b"AUTOEX~1IPX";
const EFI: &[u8; 11] = b"EFI        ";
const BOOT: &[u8; 11] = b"BOOT       ";
const LOADER: &[u8; 11] = b"BOOTX64 EFI";

const DIR_ENTRY: usize = 32;
/// A FAT12 file system has at most this many clusters.
const MOST_CLUSTERS: usize = 4084;

const LONG_NAME: u8 = 0x0f;

/// The file system, and the position of the script in it.
pub(super) struct EfiImage {
    pub(super) bytes: Vec<u8>,
    pub(super) script: Range<usize>,
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
