//! Recognises files by their first bytes, as iPXE and Linux do: kernels, initramfs archives, and
//! files that are often mistaken for them. Pure.
//!
//! iPXE for BIOS treats any file that is small enough as a network boot program, because these have
//! no magic number (`src/arch/x86/image/pxe_image.c`), and jumps into it.

use std::fmt;

/// How many bytes are needed to recognise a file: a multiboot header lies in the first 8192.
pub const HEAD_LEN: usize = 8192;

/// iPXE for BIOS runs unknown files up to this size, which is what fits into base memory below 640
/// KiB.
pub const MOST_BASE_MEMORY: u64 = 640 * 1024;

/// `syssize` counts units of 16 bytes, and a linker may round up.
const PARAGRAPH: u64 = 16;

/// The kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// A Linux kernel for x86, or a file that looks like one to a boot loader
    /// (`Documentation/arch/x86/boot.rst`).
    BzImage {
        /// Smallest size of the complete file.
        wanted: u64,
    },
    Efi {
        machine: Machine,
        /// Smallest size of the complete file.
        wanted: u64,
    },
    /// A kernel image for another processor than x86 that is not a UEFI program.
    OtherImage(Machine),
    Multiboot,
    /// A 64-bit ELF file, for instance the `vmlinux` that a bzImage is built from.
    Elf64,
    Script,
    /// The placeholder that Git LFS leaves for a file that was not fetched.
    LfsPointer,
    /// A web page, most often an error page.
    Page,
    /// Text in PEM or OpenPGP armour, such as a signature or a certificate.
    Armour,
    /// An archive or compressed file that Linux unpacks as an initramfs.
    Archive(Archive),
    /// A cpio archive of a kind that Linux does not unpack.
    OldCpio,
    Empty,
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// x86, 32 and 64 bits.
    X86,
    Arm,
    Arm64,
    RiscV,
    LoongArch,
    /// Machine number in PE/COFF.
    Other(u16),
}

/// How an initramfs is packed (`lib/decompress.c`, `init/initramfs.c` of Linux).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archive {
    /// Uncompressed cpio, format "newc".
    Cpio,
    Gzip,
    Bzip2,
    /// LZMA without a container.
    Lzma,
    Xz,
    Lzo,
    /// LZ4 in its legacy frame, which Linux expects.
    Lz4,
    Zstd,
}

const MAGIC: &[(&[u8], Contents)] = &[
    (b"version https://git-lfs.github.com/spec/", Contents::LfsPointer),
    (b"-----BEGIN ", Contents::Armour),
    (b"070701", Contents::Archive(Archive::Cpio)),
    (b"070702", Contents::Archive(Archive::Cpio)),
    (b"070707", Contents::OldCpio),
    (b"\xc7\x71", Contents::OldCpio),
    (b"\x71\xc7", Contents::OldCpio),
    (b"\x1f\x8b", Contents::Archive(Archive::Gzip)),
    (b"BZh", Contents::Archive(Archive::Bzip2)),
    (b"\x5d\x00\x00", Contents::Archive(Archive::Lzma)),
    (b"\xfd7zXZ\0", Contents::Archive(Archive::Xz)),
    (b"\x89LZO", Contents::Archive(Archive::Lzo)),
    (b"\x02\x21\x4c\x18", Contents::Archive(Archive::Lz4)),
    (b"\x28\xb5\x2f\xfd", Contents::Archive(Archive::Zstd)),
];

impl Contents {
    /// Recognises a file by its first [`HEAD_LEN`] bytes, or by all of them if it is shorter.
    pub fn of(head: &[u8]) -> Self {
        if head.is_empty() {
            return Self::Empty;
        }
        // Before PE: an x86 kernel is both, and boot loaders for BIOS see the bzImage.
        let image = bzimage(head).or_else(|| pe(head)).or_else(|| arm64(head));
        if let Some(image) = image.or_else(|| elf(head)).or_else(|| multiboot(head)) {
            return image;
        }
        if super::script::grammar::is_script(head) {
            return Self::Script;
        }
        let magic = MAGIC.iter().find(|(magic, _)| head.starts_with(magic));
        if let Some((_, contents)) = magic {
            return *contents;
        }
        if is_page(head) { Self::Page } else { Self::Unknown }
    }

    /// The number of missing bytes if a file of this kind and length is truncated.
    pub fn cut_short(&self, len: u64) -> Option<u64> {
        match self {
            Self::BzImage { wanted } if len.saturating_add(PARAGRAPH) <= *wanted => {
                Some(wanted - len)
            }
            Self::Efi { wanted, .. } if len < *wanted => Some(wanted - len),
            _ => None,
        }
    }

    /// The processor that the file is for, if it states one.
    pub fn machine(&self) -> Option<Machine> {
        match self {
            Self::BzImage { .. } | Self::Multiboot => Some(Machine::X86),
            Self::Efi { machine, .. } | Self::OtherImage(machine) => Some(*machine),
            _ => None,
        }
    }
}

fn u16_at(head: &[u8], at: usize) -> Option<u16> {
    let bytes = head.get(at..at.checked_add(2)?)?;
    bytes.try_into().ok().map(u16::from_le_bytes)
}

fn u32_at(head: &[u8], at: usize) -> Option<u32> {
    let bytes = head.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}

fn bzimage(head: &[u8]) -> Option<Contents> {
    if u16_at(head, 0x1fe)? != 0xaa55 || head.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let version = u16_at(head, 0x206)?;
    let sectors = match head.get(0x1f1)? {
        0 => 4,
        sectors => u64::from(*sectors),
    };
    // The field has four bytes since protocol 2.04.
    let size =
        if version >= 0x204 { u32_at(head, 0x1f4)? } else { u32::from(u16_at(head, 0x1f4)?) };
    Some(Contents::BzImage { wanted: (sectors + 1) * 512 + u64::from(size) * PARAGRAPH })
}

fn pe(head: &[u8]) -> Option<Contents> {
    let start = head.starts_with(b"MZ").then(|| u32_at(head, 0x3c)).flatten()?;
    let header = usize::try_from(start).ok()?;
    if head.get(header..header.checked_add(4)?)? != b"PE\0\0" {
        return None;
    }
    let machine = match u16_at(head, header + 4)? {
        0x014c | 0x8664 => Machine::X86,
        0x01c0 | 0x01c2 | 0x01c4 => Machine::Arm,
        0xaa64 => Machine::Arm64,
        0x5032 | 0x5064 | 0x5128 => Machine::RiscV,
        0x6232 | 0x6264 => Machine::LoongArch,
        other => Machine::Other(other),
    };
    let sections = usize::from(u16_at(head, header + 6)?);
    let table = header + 24 + usize::from(u16_at(head, header + 20)?);
    // Sections whose headers lie beyond the head are assumed to be complete.
    let ends = (0..sections).map_while(|number| {
        let section = table + 40 * number;
        let (size, at) = (u32_at(head, section + 16)?, u32_at(head, section + 20)?);
        Some(if at == 0 { 0 } else { u64::from(at) + u64::from(size) })
    });
    Some(Contents::Efi { machine, wanted: ends.max().unwrap_or(0) })
}

/// Kernels without a UEFI stub (`Documentation/arch/arm64/booting.rst`).
fn arm64(head: &[u8]) -> Option<Contents> {
    match head.get(0x38..0x3c)? {
        b"ARM\x64" => Some(Contents::OtherImage(Machine::Arm64)),
        b"RSC\x05" => Some(Contents::OtherImage(Machine::RiscV)),
        _ => None,
    }
}

fn elf(head: &[u8]) -> Option<Contents> {
    match (head.starts_with(b"\x7fELF"), head.get(4)?) {
        (true, 1) => Some(Contents::Multiboot),
        (true, _) => Some(Contents::Elf64),
        _ => None,
    }
}

/// The header begins on a 4-byte boundary somewhere in the head.
fn multiboot(head: &[u8]) -> Option<Contents> {
    let found = head[..head.len().min(8192)]
        .chunks_exact(4)
        .any(|word| word == 0x1bad_b002_u32.to_le_bytes());
    found.then_some(Contents::Multiboot)
}

fn is_page(head: &[u8]) -> bool {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    [&b"<!doctype"[..], b"<html", b"<head", b"<?xml"]
        .iter()
        .any(|tag| text.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag)))
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X86 => f.write_str("x86"),
            Self::Arm => f.write_str("32-bit ARM"),
            Self::Arm64 => f.write_str("arm64"),
            Self::RiscV => f.write_str("RISC-V"),
            Self::LoongArch => f.write_str("LoongArch"),
            Self::Other(number) => write!(f, "another processor (PE machine {number:#06x})"),
        }
    }
}

impl fmt::Display for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpio => "cpio",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Lzma => "LZMA",
            Self::Xz => "xz",
            Self::Lzo => "LZO",
            Self::Lz4 => "LZ4",
            Self::Zstd => "Zstandard",
        })
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BzImage { .. } => f.write_str("a Linux kernel for x86"),
            Self::Efi { machine, .. } => write!(f, "a UEFI program for {machine}"),
            Self::OtherImage(machine) => write!(f, "a kernel for {machine}"),
            Self::Multiboot => f.write_str("a multiboot kernel"),
            Self::Elf64 => f.write_str("a 64-bit ELF file (vmlinux)"),
            Self::Script => f.write_str("an iPXE script"),
            Self::LfsPointer => f.write_str("a pointer of Git LFS"),
            Self::Page => f.write_str("a web page"),
            Self::Armour => f.write_str("a signature or certificate"),
            Self::Archive(Archive::Cpio) => f.write_str("a cpio archive"),
            Self::Archive(archive) => write!(f, "a file compressed by {archive}"),
            Self::OldCpio => f.write_str("a cpio archive of an old kind (not \"newc\")"),
            Self::Empty => f.write_str("empty"),
            Self::Unknown => f.write_str("something else"),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
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
}
