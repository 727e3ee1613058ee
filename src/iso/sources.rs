//! Finds and reads the files of a base image: iPXE and isolinux, where distributions install them.
//! Reads files.

use std::fs::File;
use std::io;
use std::io::ErrorKind;
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use super::read::volume_len;
use crate::identity::Fingerprint;
use crate::ipxe::Binary;
use crate::ipxe::Kind;
use crate::ipxe::RerootError;
use crate::ipxe::reroot;
use crate::store::files;

/// The directories of Debian and Fedora.
const IPXE_DIRS: &[&str] = &["/usr/lib/ipxe", "/usr/share/ipxe"];
const BIOS_NAMES: &[&str] = &["ipxe.lkrn"];
const EFI_NAMES: &[&str] = &["ipxe.efi", "ipxe-amd64.efi", "ipxe-x86_64.efi"];

/// The way to get a missing part on this system: the Debian package `debian`, or the NixOS package
/// `nixpkgs`, and the option that names a directory.
fn way_out(debian: &str, nixpkgs: &str, option: &str) -> String {
    if on_nixos() {
        format!("give {option} \"$(nix build --no-link --print-out-paths nixpkgs#{nixpkgs})\"")
    } else {
        format!("install Debian's package {debian}, or give {option} DIR")
    }
}

/// True on NixOS, where packages are not installed by hand.
pub fn on_nixos() -> bool {
    // Every NixOS has this file, and no other system does.
    Path::new("/etc/NIXOS").exists()
}

fn ipxe_way_out() -> String {
    way_out("ipxe (trixie, Debian 13, or later)", "ipxe", "--ipxe")
}

/// The directories of Debian, Arch and Fedora.
const SYSLINUX_DIRS: &[&str] = &[
    "/usr/lib/ISOLINUX",
    "/usr/lib/syslinux/modules/bios",
    "/usr/lib/syslinux/bios",
    "/usr/share/syslinux",
];
/// The folder of these files below a prefix of Nix.
const BELOW_PREFIX: &[&str] = &["", "share/syslinux", "ISOLINUX", "syslinux/modules/bios"];

/// Size limit of a file. No image and no part of one is larger.
const MOST: u64 = 64 * 1024 * 1024;

/// The files of isolinux, which starts iPXE under BIOS.
pub struct Syslinux {
    pub isolinux: Vec<u8>,
    pub isohdpfx: Vec<u8>,
    pub ldlinux: Vec<u8>,
}

impl Syslinux {
    /// Searches `dir`, or the directories of distributions.
    pub fn find(dir: Option<&Path>) -> Result<Self> {
        let dirs: Vec<PathBuf> = match dir {
            Some(dir) => BELOW_PREFIX.iter().map(|below| dir.join(below)).collect(),
            None => SYSLINUX_DIRS.iter().map(PathBuf::from).collect(),
        };
        let find = |name, package| {
            let way_out = || way_out(package, "syslinux", "--syslinux");
            Ok::<_, anyhow::Error>(find(&dirs, &[name], way_out)?.bytes)
        };
        Ok(Self {
            isolinux: find("isolinux.bin", "isolinux")?,
            isohdpfx: find("isohdpfx.bin", "isolinux")?,
            ldlinux: find("ldlinux.c32", "syslinux-common")?,
        })
    }
}

pub struct Found {
    pub path: PathBuf,
    pub bytes: Vec<u8>,
}

/// The iPXE binaries for an image.
pub struct Ipxe {
    /// `ipxe.lkrn`.
    pub bios: Found,
    /// `ipxe.efi`.
    pub efi: Found,
}

impl Ipxe {
    /// Searches `dir`, or the directories of distributions.
    pub fn find(dir: Option<&Path>) -> Result<Self> {
        let dirs: Vec<PathBuf> = match dir {
            Some(dir) => vec![dir.to_owned()],
            None => IPXE_DIRS.iter().map(PathBuf::from).collect(),
        };
        let find = |names| find(&dirs, names, ipxe_way_out);
        Ok(Self { bios: find(BIOS_NAMES)?, efi: find(EFI_NAMES)? })
    }

    /// The binaries for BIOS and UEFI, trusting only this root.
    pub fn rerooted(&self, root: &Fingerprint) -> Result<(Vec<u8>, Vec<u8>)> {
        Ok((rerooted(Kind::Bios, &self.bios, root)?, rerooted(Kind::Efi, &self.efi, root)?))
    }
}

fn rerooted(kind: Kind, file: &Found, root: &Fingerprint) -> Result<Vec<u8>> {
    let cannot = || format!("cannot use {}", file.path.display());
    let no_https = Binary::read(kind, &file.bytes).is_ok_and(|binary| !binary.has_https());
    match reroot(kind, &file.bytes, root) {
        Err(RerootError::NoRoot) | Ok(_) if no_https => {
            bail!("{}: it was built without HTTPS; {}", cannot(), ipxe_way_out())
        }
        Ok(binary) => Ok(binary.into_owned()),
        Err(error @ RerootError::NoRoot) => bail!("{}: {error}; {}", cannot(), ipxe_way_out()),
        Err(error) => Err(error).with_context(cannot),
    }
}

/// Reads the first file with one of these names in one of these directories.
fn find(dirs: &[PathBuf], names: &[&str], way_out: impl Fn() -> String) -> Result<Found> {
    for path in dirs.iter().flat_map(|dir| names.iter().map(|name| dir.join(name))) {
        match files::open_image(&path) {
            Ok(file) => {
                let bytes = read_all(file).with_context(|| cannot_read(&path))?;
                return Ok(Found { path, bytes });
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(error).with_context(|| cannot_read(&path)),
        }
    }
    let places: Vec<_> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    bail!("no {} in {}: {}", names.join(" or "), places.join(", "), way_out())
}

/// Reads an image file, or the image on a device. A USB stick is larger than the image; only the
/// image is read.
pub fn read_image(path: &Path) -> Result<Vec<u8>> {
    files::open_image(path)
        .map_err(anyhow::Error::from)
        .and_then(read_all)
        .with_context(|| cannot_read(path))
}

fn read_all(file: File) -> Result<Vec<u8>> {
    if file.metadata()?.file_type().is_block_device() {
        return Ok(image_on(file)?);
    }
    let mut bytes = Vec::new();
    file.take(MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST {
        bail!("it is larger than {MOST} bytes, so it is not a boot image");
    }
    Ok(bytes)
}

/// Reads the image at the beginning of a device. The image itself says how long it is.
fn image_on(device: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    device.take(MOST).read_to_end(&mut bytes)?;
    if let Some(len) = volume_len(&bytes) {
        bytes.truncate(len);
    }
    Ok(bytes)
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stick of more than 64 MB used to be refused as "larger than any image".
    #[test]
    fn a_device_is_read_as_far_as_its_image_goes() {
        const BLOCKS: u8 = 40;
        let mut image = vec![7; usize::from(BLOCKS) * 2048];
        // ECMA-119, 8.4: the primary volume descriptor, which contains the number of blocks.
        image[16 * 2048..][..6].copy_from_slice(b"\x01CD001");
        image[16 * 2048 + 80..][..4].copy_from_slice(&[BLOCKS, 0, 0, 0]);
        assert!(image_on(image.chain(io::repeat(1))).unwrap() == image);
        assert!(image_on(&image[..]).unwrap() == image);
        let cut = &image[..image.len() - 1];
        assert!(image_on(cut).unwrap() == cut);
        assert_eq!(image_on(io::repeat(1)).unwrap().len() as u64, MOST);
    }
}
