//! Compares an image with what it should be. The base image is a pure function of its parts, so it
//! can be built again from the parts on the image. Pure: bytes in, findings out.

use super::base::INFO_TABLE;
use super::base::INFO_TABLE_END;
use super::base::Inputs;
use super::base::base;
use super::fat;
use super::mbr;
use super::read::Image;
use super::sources::Ipxe;
use super::sources::Syslinux;
use crate::ipxe::Binary;
use crate::ipxe::Kind;
use crate::ipxe::media::Media;
use crate::ipxe::slot;

/// Reference files on this machine that an image can be compared with.
#[derive(Default)]
pub struct AtHand<'a> {
    /// Certificate (DER) of the fleet's CA.
    pub ca: Option<&'a [u8]>,
    /// The iPXE that the image may have been made from, before re-rooting.
    pub ipxe: Option<&'a Ipxe>,
    /// The isolinux that the image may have been made from.
    pub syslinux: Option<&'a Syslinux>,
}

/// The result of a comparison.
#[derive(Default)]
pub(super) struct Compared {
    pub(super) problems: Vec<String>,
    /// Parts that could not be compared, and why.
    pub(super) not_compared: Vec<String>,
}

/// Builds the base image again from the image's own settings and parts, and compares all bytes
/// outside the slot. Then compares the parts with the reference files.
pub(super) fn compare(bytes: &[u8], image: &Image<'_>, at_hand: &AtHand<'_>) -> Compared {
    let mut compared = Compared::default();
    if compared.rebuild(bytes, image).is_none() {
        compared.problems.push("its parts cannot be read".to_owned());
    }
    compared.parts(bytes, image, at_hand);
    compared
}

impl Compared {
    fn rebuild(&mut self, bytes: &[u8], image: &Image<'_>) -> Option<()> {
        let script = image.file("AUTOEXEC.IPXE").ok()?;
        let media = Media::reread(script).ok()?;
        let (loader, _) = fat::read(image.file("EFI.IMG").ok()?)?;
        let root = media.facts.root;
        let rebuilt = base(&Inputs {
            ipxe_bios: image.file("IPXE.LKRN").ok()?,
            ipxe_efi: &loader,
            isolinux: image.file("ISOLINUX.BIN").ok()?,
            isohdpfx: bytes.get(..mbr::CODE_LEN)?,
            ldlinux: image.file("LDLINUX.C32").ok()?,
            root,
            ca: media.facts.ca.as_deref(),
            needs_ecdsa: false,
            urls: media.facts.urls.clone(),
            ntp: media.ntp.clone(),
            address: media.address.clone(),
            contact: media.contact.clone(),
            debug: media.debug,
        });
        let rebuilt = match rebuilt {
            Ok(rebuilt) => rebuilt,
            Err(error) => {
                self.problems.push(format!("it cannot be rebuilt from its parts: {error}"));
                return Some(());
            }
        };
        let slot = slot::find(bytes).ok()?;
        // Report this first: after a longer script, every later byte has moved.
        if let Some(line) = first_different_line(script, &media.render()) {
            self.problems.push(format!(
                "its script is not the one that this farmgate writes for these settings, from line \
                 {line} on: another version made it, or somebody changed it"
            ));
            return Some(());
        }
        let differs = |at: &usize| !slot.contains(at) && bytes.get(*at) != Some(&rebuilt[*at]);
        if let Some(at) = (0..rebuilt.len()).find(differs) {
            self.problems.push(format!(
                "it differs from what its parts build, from byte {at} on, outside its slot"
            ));
        }
        Some(())
    }

    fn parts(&mut self, bytes: &[u8], image: &Image<'_>, at_hand: &AtHand<'_>) {
        match at_hand.ipxe {
            None => self.not_compared.push("iPXE: none was found on this machine".to_owned()),
            Some(ipxe) => self.ipxe(image, ipxe),
        }
        match at_hand.syslinux {
            None => self.not_compared.push("isolinux: none was found on this machine".to_owned()),
            Some(syslinux) => self.syslinux(bytes, image, syslinux),
        }
    }

    fn ipxe(&mut self, image: &Image<'_>, ipxe: &Ipxe) {
        let bios = image.file("IPXE.LKRN").ok();
        let loader = image.file("EFI.IMG").ok().and_then(fat::read).map(|(loader, _)| loader);
        let script = image.file("AUTOEXEC.IPXE").ok();
        let facts = script.and_then(|script| Media::reread(script).ok()).map(|media| media.facts);
        let (Some(bios), Some(loader), Some(facts)) = (bios, loader, facts) else { return };
        let here = Binary::read(Kind::Efi, &ipxe.efi.bytes).ok().and_then(|b| b.version());
        if here != facts.ipxe {
            let name = |version: &Option<String>| version.clone().unwrap_or("unknown".to_owned());
            self.not_compared.push(format!(
                "iPXE: its version is {}, and that of {} is {}",
                name(&facts.ipxe),
                ipxe.efi.path.display(),
                name(&here)
            ));
            return;
        }
        let (own_bios, own_efi) = match ipxe.rerooted(&facts.root) {
            Ok(made) => made,
            Err(error) => return self.not_compared.push(format!("iPXE: {error:#}")),
        };
        for (name, is, own, path) in [
            ("BIOS", bios, &own_bios, &ipxe.bios.path),
            ("UEFI", &loader, &own_efi, &ipxe.efi.path),
        ] {
            if is != own.as_slice() {
                self.problems.push(format!(
                    "its iPXE for {name} is not {} of the same version with this root: if it was \
                     made from another folder, name that with --ipxe",
                    path.display()
                ));
            }
        }
    }

    fn syslinux(&mut self, bytes: &[u8], image: &Image<'_>, own: &Syslinux) {
        let (Ok(isolinux), Ok(ldlinux)) = (image.file("ISOLINUX.BIN"), image.file("LDLINUX.C32"))
        else {
            return;
        };
        let version = |isolinux: &[u8]| {
            let at = memchr::memmem::find(isolinux, b"ISOLINUX ")?;
            let text = isolinux[at..].split(|byte| !(b' '..=b'~').contains(byte)).next()?;
            Some(text.to_vec())
        };
        if version(isolinux) != version(&own.isolinux) {
            self.not_compared
                .push("isolinux: the one on this machine has another version".to_owned());
            return;
        }
        let without_table = |isolinux: &[u8]| {
            let table = INFO_TABLE..INFO_TABLE_END.min(isolinux.len()).max(INFO_TABLE);
            [isolinux.get(..table.start), isolinux.get(table.end..)]
                .map(|part| part.map(<[u8]>::to_vec))
        };
        let same = without_table(isolinux) == without_table(&own.isolinux)
            && ldlinux == own.ldlinux
            && bytes.get(..mbr::CODE_LEN) == Some(&own.isohdpfx);
        if !same {
            self.problems.push(
                "its isolinux is not the one on this machine, which has the same version: if it \
                 was made from another folder, name that with --syslinux"
                    .to_owned(),
            );
        }
    }
}

/// Number of the first line, outside the slot, in which a script differs from what it should be.
fn first_different_line(script: &[u8], expected: &[u8]) -> Option<usize> {
    let slot = slot::find(expected).ok()?;
    let same = |at: &usize| slot.contains(at) || script.get(*at) == expected.get(*at);
    let at = (0..script.len().max(expected.len())).find(|at| !same(at))?;
    let lines = script[..at.min(script.len())].iter().filter(|byte| **byte == b'\n').count();
    Some(lines + 1)
}
