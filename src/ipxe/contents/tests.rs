//! Tests: files are recognised by their first bytes, and truncated ones are noticed.

use proptest::prelude::*;

use super::*;

/// The first bytes of a kernel of `len` bytes.
pub(crate) fn kernel_head(len: u32) -> Vec<u8> {
    let mut head = vec![0; 1024];
    head[..2].copy_from_slice(b"MZ");
    head[0x1f1] = 1;
    head[0x1f4..0x1f8].copy_from_slice(&((len - 1024) / 16).to_le_bytes());
    head[0x1fe..0x202].copy_from_slice(b"\x55\xaa\xeb\x66");
    head[0x202..0x208].copy_from_slice(b"HdrS\x0f\x02");
    head
}

/// A UEFI program with one section that ends at `end`.
pub(crate) fn efi_head(machine: u16, end: u32) -> Vec<u8> {
    let mut head = vec![0; 512];
    head[..2].copy_from_slice(b"MZ");
    head[0x3c] = 0x40;
    head[0x40..0x44].copy_from_slice(b"PE\0\0");
    head[0x44..0x46].copy_from_slice(&machine.to_le_bytes());
    head[0x46] = 1;
    head[0x54] = 16;
    let section = 0x40 + 24 + 16;
    head[section + 16..section + 20].copy_from_slice(&(end - 512).to_le_bytes());
    head[section + 20..section + 24].copy_from_slice(&512_u32.to_le_bytes());
    head
}

#[test]
fn files_are_told_apart_by_their_first_bytes() {
    assert_eq!(Contents::of(&kernel_head(4096)), Contents::BzImage { wanted: 4096 });
    let arm = Contents::Efi { machine: Machine::Arm64, wanted: 2048 };
    assert_eq!(Contents::of(&efi_head(0xaa64, 2048)), arm);
    let mut image = vec![0; 64];
    image[0x38..0x3c].copy_from_slice(b"ARM\x64");
    assert_eq!(Contents::of(&image), Contents::OtherImage(Machine::Arm64));
    let mut boot_sector = vec![0; 1024];
    boot_sector[0x1fe..0x200].copy_from_slice(b"\x55\xaa");
    for (head, contents) in [
        (&b""[..], Contents::Empty),
        (b"#!ipxe\nboot\n", Contents::Script),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", Contents::LfsPointer),
        (b"\n<!DOCTYPE html><title>404", Contents::Page),
        (b"\xef\xbb\xbf<HTML>", Contents::Page),
        (b"-----BEGIN PGP SIGNATURE-----\n", Contents::Armour),
        (b"\x7fELF\x02\x01", Contents::Elf64),
        (b"\x7fELF\x01\x01", Contents::Multiboot),
        (b"\0\0\0\0\x02\xb0\xad\x1b", Contents::Multiboot),
        (b"070701000", Contents::Archive(Archive::Cpio)),
        (b"070707000", Contents::OldCpio),
        (b"\x28\xb5\x2f\xfd", Contents::Archive(Archive::Zstd)),
        (b"MZ", Contents::Unknown),
        (&boot_sector, Contents::Unknown),
    ] {
        assert_eq!(Contents::of(head), contents, "{head:?}");
    }
}

#[test]
fn what_is_cut_short_is_short_of_bytes() {
    let kernel = Contents::of(&kernel_head(4096));
    assert_eq!(kernel.cut_short(1024), Some(3072));
    assert_eq!(kernel.cut_short(4096), None);
    // iPXE's own ipxe.lkrn ends in the middle of a paragraph, and signatures may follow a
    // kernel.
    assert_eq!(kernel.cut_short(4095), None);
    assert_eq!(kernel.cut_short(9000), None);
    let program = Contents::of(&efi_head(0x8664, 2048));
    assert_eq!((program.cut_short(2047), program.cut_short(2048)), (Some(1), None));
    assert_eq!(Contents::Unknown.cut_short(0), None);
}

proptest! {
    /// Tries every header with some of its bytes overwritten, cut at every length.
    #[test]
    fn no_bytes_make_it_panic(
        which in 0..3_usize,
        noise in prop::collection::vec((0..1024_usize, any::<u8>()), 0..20),
        keep in 0..1100_usize,
        any in prop::collection::vec(any::<u8>(), 0..100),
        len in any::<u64>(),
    ) {
        let mut head = [kernel_head(4096), efi_head(0x8664, 2048), any][which].clone();
        for (at, byte) in noise {
            if let Some(place) = head.get_mut(at) {
                *place = byte;
            }
        }
        head.truncate(keep);
        let contents = Contents::of(&head);
        prop_assert_eq!(contents == Contents::Empty, head.is_empty());
        let _ = contents.cut_short(len >> 1);
        prop_assert!(!contents.to_string().contains(char::is_control));
    }
}
