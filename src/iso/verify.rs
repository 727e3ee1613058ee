//! Reads an image and reports what is on it and what is wrong with it. Pure: the caller passes the
//! time.

use std::fmt;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::compare::AtHand;
use super::compare::compare;
use super::fat;
use super::read;
use super::read::Image;
use super::seal::issued_by_root;
use super::uses_ecdsa;
use crate::foreign::Foreign;
use crate::identity::Certificate;
use crate::identity::Fingerprint;
use crate::identity::Identity;
use crate::identity::usable_client;
use crate::ipxe::Binary;
use crate::ipxe::BinaryError;
use crate::ipxe::Kind;
use crate::ipxe::STOCK_ROOT;
use crate::ipxe::media::Facts;
use crate::ipxe::media::FactsError;
use crate::ipxe::slot;

/// A report about an image. It never contains the private key.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Size of the image in bytes.
    pub size: usize,
    /// Version of its iPXE, if the iPXE states it.
    pub ipxe_version: Option<Foreign>,
    /// True if its iPXE can use a P-256 PKI.
    pub ecdsa: bool,
    /// SHA-256 of the root certificate that the image trusts.
    pub root: Fingerprint,
    /// True if that is the CA of this state; `None` if the state has none.
    pub root_is_this_ca: Option<bool>,
    /// The boot hosts, in the order in which they are asked.
    pub urls: Vec<String>,
    /// Ways to start it: `bios-cd`, `uefi-cd`, `bios-usb`, `uefi-usb`.
    pub starts: Vec<&'static str>,
    /// The identity in its slot; `None` if the slot is empty.
    pub identity: Option<SealedIdentity>,
    pub problems: Vec<String>,
    /// Parts that could not be compared, and why.
    pub not_compared: Vec<String>,
}

/// The client certificate in the slot.
#[derive(Debug, Serialize)]
pub struct SealedIdentity {
    pub subject: Foreign,
    pub fingerprint: Fingerprint,
    pub issuer: Foreign,
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// True if the private key in the slot belongs to the certificate.
    pub key_fits: bool,
    /// True if the image's root issued the certificate; `None` if the root's certificate is not
    /// known.
    pub issued_by_root: Option<bool>,
}

/// Reads an image and compares its claims with its content.
pub fn verify(image: &[u8], at_hand: &AtHand<'_>, now: OffsetDateTime) -> Result<Report, Error> {
    let volume = Image::read(image)?;
    let script_place = volume.place("AUTOEXEC.IPXE")?;
    let script = volume.file("AUTOEXEC.IPXE")?;
    let facts = Facts::read(script)?;
    let efi_place = volume.place("EFI.IMG")?;
    let (loader, efi_script) = fat::read(&image[efi_place.clone()]).ok_or(Error::NoEfi)?;
    let mut problems = Vec::new();
    if efi_place.start + efi_script.start != script_place.start || efi_script.len() != script.len()
    {
        problems.push("BIOS and UEFI would run different scripts".to_owned());
    }
    let bios = Binary::read(Kind::Bios, volume.file("IPXE.LKRN")?).map_err(Error::Bios)?;
    let efi = Binary::read(Kind::Efi, &loader).map_err(Error::Efi)?;
    for (name, binary) in [("BIOS", &bios), ("UEFI", &efi)] {
        check_binary(name, binary, &facts, &mut problems);
    }
    let starts = starts(&volume);
    if starts.len() < ALL_STARTS {
        problems.push(format!("it starts only as {}", starts.join(", ")));
    }
    let slot = slot::find(image)?;
    if slot.start < script_place.start || slot.end > script_place.end {
        problems.push("its slot is not in its script".to_owned());
    }
    let mut compared = compare(image, &volume, at_hand);
    problems.append(&mut compared.problems);
    let identity = match slot::read(image)? {
        None => None,
        Some(contents) => Some(identity(&contents, &facts, at_hand.ca, now, &mut problems)?),
    };
    let mut not_compared = compared.not_compared;
    if identity.as_ref().is_some_and(|identity| identity.issued_by_root.is_none()) {
        not_compared.push("the identity: the CA's certificate is not on the image".to_owned());
    }
    Ok(Report {
        size: image.len(),
        ipxe_version: facts.ipxe.map(Foreign::from),
        ecdsa: facts.ecdsa,
        root: facts.root,
        root_is_this_ca: at_hand.ca.map(|ca| Fingerprint::of_der(ca) == facts.root),
        urls: facts.urls.iter().map(ToString::to_string).collect(),
        starts,
        identity,
        problems,
        not_compared,
    })
}

const ALL_STARTS: usize = 4;

fn starts(volume: &Image<'_>) -> Vec<&'static str> {
    let paths = volume.boot_paths();
    [
        (paths.bios_cd, "bios-cd"),
        (paths.uefi_cd, "uefi-cd"),
        (paths.bios_usb, "bios-usb"),
        (paths.uefi_usb, "uefi-usb"),
    ]
    .into_iter()
    .filter_map(|(there, name)| there.then_some(name))
    .collect()
}

fn check_binary(name: &str, binary: &Binary<'_>, facts: &Facts, problems: &mut Vec<String>) {
    if binary.count_root(&STOCK_ROOT) != 0 {
        problems.push(format!("the iPXE for {name} trusts iPXE's own root"));
    }
    if binary.count_root(&facts.root) != 1 {
        problems.push(format!("the iPXE for {name} does not trust the root that the image names"));
    }
    if facts.ecdsa && !binary.has_ecdsa() {
        problems.push(format!("the iPXE for {name} lacks the ECDSA that the image claims"));
    }
    if facts.ipxe.is_some() && binary.version().is_some_and(|v| Some(&v) != facts.ipxe.as_ref()) {
        problems.push(format!("the iPXE for {name} is of another version than the image names"));
    }
}

fn identity(
    contents: &slot::Contents,
    facts: &Facts,
    ca: Option<&[u8]>,
    now: OffsetDateTime,
    problems: &mut Vec<String>,
) -> Result<SealedIdentity, Error> {
    let certificate =
        Certificate::from_der(&contents.certificate).map_err(|_| Error::NoCertificate)?;
    let key_fits = Identity::from_der(&contents.certificate, &contents.private_key).is_ok();
    if !key_fits {
        problems.push("the private key does not belong to the certificate".to_owned());
    }
    let issued = issued_by_root(&contents.certificate, facts, ca);
    if let Some(Err(error)) = &issued {
        problems.push(format!(
            "the CA that it trusts did not issue its certificate ({error}): its boot hosts refuse it"
        ));
    }
    if let Err(error) = usable_client(&contents.certificate) {
        problems.push(format!("no gateway boots with its certificate: {error}"));
    } else if uses_ecdsa(&contents.certificate) && !facts.ecdsa {
        problems.push("its iPXE cannot use a P-256 identity".to_owned());
    }
    if now > certificate.not_after {
        problems.push(format!("its certificate expired on {}", certificate.not_after.date()));
    } else if now < certificate.not_before {
        problems.push(format!("its certificate is valid only from {}", certificate.not_before));
    }
    Ok(SealedIdentity {
        subject: certificate.subject,
        fingerprint: certificate.fingerprint,
        issuer: certificate.issuer,
        not_before: certificate.not_before,
        not_after: certificate.not_after,
        key_fits,
        issued_by_root: issued.map(|issued| issued.is_ok()),
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.ipxe_version.as_ref().map_or("unknown", Foreign::as_str);
        let ecdsa = if self.ecdsa { "RSA and ECDSA" } else { "RSA only" };
        writeln!(f, "iPXE         {version} ({ecdsa})")?;
        let whose = match self.root_is_this_ca {
            Some(true) => " (this state's CA)",
            Some(false) => " (not this state's CA)",
            None => "",
        };
        writeln!(f, "trusted root {}{whose}", self.root)?;
        for url in &self.urls {
            writeln!(f, "boot address {url}")?;
        }
        writeln!(f, "starts as    {}", self.starts.join(", "))?;
        writeln!(f, "size         {} bytes", self.size)?;
        match &self.identity {
            None => write!(f, "identity     none: the slot is empty")?,
            Some(identity) => {
                let day = |time: OffsetDateTime| time.format(&Rfc3339).unwrap_or_default();
                writeln!(f, "identity     {}", identity.subject)?;
                writeln!(f, "fingerprint  {}", identity.fingerprint)?;
                writeln!(f, "issuer       {}", identity.issuer)?;
                writeln!(
                    f,
                    "valid        {} to {}",
                    day(identity.not_before),
                    day(identity.not_after)
                )?;
                let fits = if identity.key_fits { "fits" } else { "does not fit" };
                write!(f, "private key  {fits} the certificate")?;
            }
        }
        for what in &self.not_compared {
            write!(f, "\nnot compared {what}")?;
        }
        self.problems.iter().try_for_each(|problem| write!(f, "\nproblem      {problem}"))
    }
}

/// The reason for an image not to be verified.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Read(#[from] read::Error),
    #[error(transparent)]
    Facts(#[from] FactsError),
    #[error(transparent)]
    Slot(#[from] slot::Error),
    #[error("its EFI.IMG holds no boot loader and script")]
    NoEfi,
    #[error("its iPXE for BIOS cannot be read")]
    Bios(#[source] BinaryError),
    #[error("its iPXE for UEFI cannot be read")]
    Efi(#[source] BinaryError),
    #[error("its slot holds something that is not a certificate")]
    NoCertificate,
}
