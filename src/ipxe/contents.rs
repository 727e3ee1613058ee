//! Recognises files by their first bytes, as iPXE and Linux do: kernels, initramfs archives, and
//! files that are often mistaken for them. Pure.
//!
//! iPXE for BIOS treats any file that is small enough as a network boot program, because these have
//! no magic number (`src/arch/x86/image/pxe_image.c`), and jumps into it.

use std::fmt;

/// The number of bytes that are needed to recognise a file: a multiboot header lies in the first 8192.
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

/// The compression of an initramfs (`lib/decompress.c`, `init/initramfs.c` of Linux).
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
            Self::LfsPointer => f.write_str("a Git LFS pointer"),
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
pub(crate) mod tests;
