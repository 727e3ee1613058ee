//! Builds the base image: everything that a gateway needs except its identity. Pure: bytes in,
//! bytes out.

use super::BLOCK;
use super::fat;
use super::mbr;
use super::volume;
use super::volume::File;
use super::volume::Placed;
use super::word_at;
use crate::config::BootUrl;
use crate::config::Contact;
use crate::identity::Fingerprint;
use crate::identity::pki::ServerName;
use crate::ipxe::Binary;
use crate::ipxe::BinaryError;
use crate::ipxe::Kind;
use crate::ipxe::media::Facts;
use crate::ipxe::media::Media;
use crate::ipxe::media::StaticAddress;

const ISOLINUX_CFG: &str = "\
DEFAULT ipxe
PROMPT 0
LABEL ipxe
KERNEL ipxe.lkrn
INITRD autoexec.ipxe
";

/// Position of isolinux.bin's boot information table (isolinux.asm).
pub(super) const INFO_TABLE: usize = 8;
pub(super) const INFO_TABLE_END: usize = 64;
/// This number follows the table in an isolinux.bin that can start from a hybrid image.
const HYBRID_MAGIC: usize = 0x7078_c0fb;

/// The parts and settings of a base image.
pub struct Inputs<'a> {
    /// `ipxe.lkrn`, already trusting `root`.
    pub ipxe_bios: &'a [u8],
    /// `ipxe.efi`, already trusting `root`.
    pub ipxe_efi: &'a [u8],
    pub isolinux: &'a [u8],
    pub isohdpfx: &'a [u8],
    pub ldlinux: &'a [u8],
    /// Fingerprint of the CA that the image trusts.
    pub root: Fingerprint,
    /// The CA's certificate (DER). The image then carries it.
    pub ca: Option<&'a [u8]>,
    /// True if the fleet's certificates use ECDSA.
    pub needs_ecdsa: bool,
    /// The boot hosts, in the order in which they are asked.
    pub urls: Vec<BootUrl>,
    /// The time server.
    pub ntp: Option<ServerName>,
    /// A fixed address instead of DHCP.
    pub address: Option<StaticAddress>,
    /// The contact that the screen shows when nothing boots.
    pub contact: Option<Contact>,
    /// Opens a shell when booting fails.
    pub debug: bool,
}

impl Inputs<'_> {
    /// The script of an image with these facts in its head.
    pub fn script(&self, facts: Facts) -> Media {
        Media {
            facts,
            ntp: self.ntp.clone(),
            address: self.address.clone(),
            contact: self.contact.clone(),
            debug: self.debug,
        }
    }
}

/// Builds the base image.
pub fn base(inputs: &Inputs<'_>) -> Result<Vec<u8>, Error> {
    let script = inputs.script(facts(inputs)?).render();
    check_isolinux(inputs)?;
    let efi = fat::build(&script, inputs.ipxe_efi).ok_or(Error::TooLarge)?;
    let mut files = [
        File { name: "ISOLINUX.BIN;1", content: inputs.isolinux.to_vec() },
        File { name: "LDLINUX.C32;1", content: inputs.ldlinux.to_vec() },
        File { name: "ISOLINUX.CFG;1", content: ISOLINUX_CFG.into() },
        File { name: "IPXE.LKRN;1", content: inputs.ipxe_bios.to_vec() },
        File { name: "EFI.IMG;1", content: efi.bytes },
    ];
    let placed = volume::place(&files);
    let isolinux_block = placed[0].block;
    let (efi_block, efi_len) = (placed[4].block, placed[4].len);
    write_info_table(&mut files[0].content, isolinux_block);
    let script = Placed {
        name: "AUTOEXEC.IPXE;1",
        block: efi_block + efi.script.start / BLOCK,
        len: script.len(),
    };
    let again = placed.iter().map(|f| Placed { name: f.name, block: f.block, len: f.len });
    let names: Vec<_> = again.chain([script, volume::catalog_file()]).collect();
    let mut image = volume::write(&files, &placed, &names, isolinux_block, (efi_block, efi_len));
    mbr::write(&mut image, inputs.isohdpfx, isolinux_block, efi_block);
    Ok(image)
}

fn facts(inputs: &Inputs<'_>) -> Result<Facts, Error> {
    let bios = Binary::read(Kind::Bios, inputs.ipxe_bios).map_err(Error::Bios)?;
    let efi = Binary::read(Kind::Efi, inputs.ipxe_efi).map_err(Error::Efi)?;
    if [&bios, &efi].iter().any(|binary| binary.count_root(&inputs.root) != 1) {
        return Err(Error::WrongRoot);
    }
    if let (Some(bios), Some(efi)) = (bios.version(), efi.version())
        && bios != efi
    {
        return Err(Error::Versions { bios, efi });
    }
    if !bios.has_https() || !efi.has_https() {
        return Err(Error::NoHttps);
    }
    let ipxe = efi.version().or_else(|| bios.version());
    let ecdsa = bios.has_ecdsa() && efi.has_ecdsa();
    if inputs.needs_ecdsa && !ecdsa {
        return Err(Error::NoEcdsa { version: ipxe.unwrap_or_else(|| "unknown".to_owned()) });
    }
    if inputs.urls.is_empty() {
        return Err(Error::NoUrl);
    }
    let ca = inputs.ca.map(<[u8]>::to_vec);
    Ok(Facts { root: inputs.root, ipxe, ecdsa, urls: inputs.urls.clone(), ca })
}

fn check_isolinux(inputs: &Inputs<'_>) -> Result<(), Error> {
    if inputs.isolinux.len() < BLOCK {
        return Err(Error::NotIsolinux);
    }
    if word_at(inputs.isolinux, INFO_TABLE_END) != Some(HYBRID_MAGIC) {
        return Err(Error::NotHybrid);
    }
    if inputs.isohdpfx.len() != mbr::CODE_LEN {
        return Err(Error::NotIsohdpfx);
    }
    if !inputs.ldlinux.starts_with(b"\x7fELF") {
        return Err(Error::NotLdlinux);
    }
    Ok(())
}

/// Writes what `mkisofs -boot-info-table` writes: the positions of the volume descriptor and of the
/// file, the file's length, and the sum of the words after the table.
fn write_info_table(isolinux: &mut [u8], block: usize) {
    const VOLUME_DESCRIPTOR: u32 = 16;
    let sum = isolinux[INFO_TABLE_END..].chunks(4).fold(0u32, |sum, chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        sum.wrapping_add(u32::from_le_bytes(word))
    });
    let words = [VOLUME_DESCRIPTOR, block as u32, isolinux.len() as u32, sum];
    let table = &mut isolinux[INFO_TABLE..INFO_TABLE_END];
    table.fill(0);
    for (place, word) in table.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
}

/// The reason for the base image not to be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the iPXE for BIOS cannot be used")]
    Bios(#[source] BinaryError),
    #[error("the iPXE for UEFI cannot be used")]
    Efi(#[source] BinaryError),
    #[error("an iPXE binary does not trust this CA")]
    WrongRoot,
    #[error("the two iPXE binaries differ in version: {bios} for BIOS, {efi} for UEFI")]
    Versions {
        /// Version of ipxe.lkrn.
        bios: String,
        /// Version of ipxe.efi.
        efi: String,
    },
    #[error("this iPXE was built without HTTPS")]
    NoHttps,
    #[error(
        "a P-256 PKI needs iPXE 2.0 or later, but this is {version}, which supports RSA only: use a \
         later iPXE (Debian forky's package ipxe, or --ipxe-source), or a state made with \
         `farmgate init --key-type rsa2048`"
    )]
    NoEcdsa {
        /// The iPXE's version.
        version: String,
    },
    #[error("an image needs at least one boot address")]
    NoUrl,
    #[error("isolinux.bin is not isolinux")]
    NotIsolinux,
    #[error("isolinux.bin is too old to start from a USB stick (isolinux 4.0 or later is needed)")]
    NotHybrid,
    #[error("isohdpfx.bin is not {} bytes of boot code", mbr::CODE_LEN)]
    NotIsohdpfx,
    #[error("ldlinux.c32 is not a syslinux module")]
    NotLdlinux,
    #[error("the iPXE for UEFI is larger than 8 MB")]
    TooLarge,
}
