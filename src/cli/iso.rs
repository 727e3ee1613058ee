//! `farmgate iso`: makes, seals and reads boot images.

mod flash;
mod parts;

use std::fmt;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use clap::Args;
use clap::Subcommand;
use clap_complete::engine::ArgValueCandidates;
use serde::Serialize;

use self::parts::PUBLIC;
pub(super) use self::parts::Parts;
use super::candidates;
use super::context::Context;
use super::context::now;
use super::context::one_gateway;
use super::selector::Done;
use super::selector::Row;
use super::selector::Selected;
use super::selector::Selector;
use crate::identity::Certificate;
use crate::identity::GatewayName;
use crate::identity::Identity;
use crate::identity::IdentityError;
use crate::identity::usable_client;
use crate::iso;
use crate::iso::AtHand;
use crate::iso::sources;
use crate::iso::sources::Ipxe;
use crate::iso::sources::Syslinux;
use crate::store::files;
use crate::store::owner::as_caller;

/// A sealed image holds a private key.
const PRIVATE: u32 = 0o600;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make the base image: iPXE for BIOS and UEFI, and an empty slot
    Base(Base),
    /// Write an identity into the slot of an image
    Seal(Seal),
    /// Make the images of gateways: base (kept for the next time) and seal in one
    Make(Make),
    /// Show what is on an image or a stick; never the key
    Verify(Verify),
    /// Write an image to a USB stick, read it back and compare
    Flash(flash::Flash),
}

impl Command {
    pub(super) fn run(self, cx: &Context) -> Result<()> {
        match self {
            Self::Base(command) => command.run(cx),
            Self::Seal(command) => command.run(cx),
            Self::Make(command) => command.run(cx),
            Self::Verify(command) => command.run(cx),
            Self::Flash(command) => command.run(cx),
        }
    }
}

/// `farmgate iso base`.
#[derive(Args)]
pub(super) struct Base {
    /// File to write the image to
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// CA of the fleet (certificate, PEM); with --url, no state is needed
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    #[command(flatten)]
    parts: Parts,
}

impl Base {
    fn run(self, cx: &Context) -> Result<()> {
        let image = match &self.ca {
            Some(ca) => self.parts.base_without_state(cx, ca)?,
            None => self.parts.base(cx, &cx.state()?)?,
        };
        write(&self.output, PUBLIC, &image)?;
        cx.print(&Written { gateway: None, file: self.output, size: image.len() })
    }
}

/// `farmgate iso seal`.
#[derive(Args)]
pub(super) struct Seal {
    /// Image to start from: a base image, or one sealed before
    base: PathBuf,
    /// Gateway whose identity to write
    #[arg(long, value_name = "NAME", required_unless_present = "cert", conflicts_with = "cert",
        value_parser = one_gateway, add = ArgValueCandidates::new(candidates::names))]
    gateway: Option<GatewayName>,
    /// Certificate to write, PEM; of several, the one that belongs to the key
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Vec<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// CA of the fleet that the image is for (certificate, PEM), if it is an old one that does
    /// not carry it, and there is no state
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// File to write the image to
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Afterwards, delete the gateway's private key from the state
    #[arg(long, requires = "gateway")]
    forget_key: bool,
}

impl Seal {
    fn run(self, cx: &Context) -> Result<()> {
        let base = sources::read_image(&self.base)?;
        let (state, identity) = match (&self.gateway, &self.key) {
            (Some(gateway), _) => {
                let state = cx.state()?;
                let identity = state.gateways().identity(gateway)?;
                (Some(state), identity)
            }
            (None, Some(key)) => (None, identity_of(&self.cert, key)?),
            (None, None) => bail!("either --gateway, or --cert and --key, is needed"),
        };
        let ca = ca(cx, self.ca.as_deref())?;
        let image = iso::seal(&base, &identity, ca.as_deref())
            .with_context(|| format!("cannot seal {}", self.base.display()))?;
        write(&self.output, PRIVATE, &image)?;
        if let (true, Some(state), Some(gateway)) = (self.forget_key, &state, &self.gateway) {
            state.gateways().forget_key(gateway)?;
        }
        cx.print(&Written { gateway: self.gateway, file: self.output, size: image.len() })
    }
}

/// The named CA, or else that of the state, if there is one: an image can be read anywhere.
fn ca(cx: &Context, named: Option<&Path>) -> Result<Option<Vec<u8>>> {
    let Some(path) = named else {
        return Ok(cx.state().and_then(|state| state.ca_certificate()).ok());
    };
    let certificate = Certificate::from_pem(&files::read_given(path)?)
        .with_context(|| format!("cannot use {}", path.display()))?;
    Ok(Some(certificate.der))
}

fn identity_of(certs: &[PathBuf], key_file: &Path) -> Result<Identity> {
    let key = files::read_given(key_file)?;
    for cert in certs {
        match Identity::from_pem(&files::read_given(cert)?, &key) {
            Err(IdentityError::Mismatch) if certs.len() > 1 => {}
            identity => {
                return identity.with_context(|| {
                    format!("cannot use {} with {}", cert.display(), key_file.display())
                });
            }
        }
    }
    bail!("none of the {} certificates belongs to {}", certs.len(), key_file.display())
}

/// `farmgate iso make`.
#[derive(Args)]
pub(super) struct Make {
    /// Gateways to make images for: names, @GROUP for those of a group, @all for all
    #[arg(value_name = "NAME|@GROUP", required_unless_present = "all",
        add = ArgValueCandidates::new(candidates::selectors))]
    selectors: Vec<Selector>,
    /// Make the images of all gateways
    #[arg(long, conflicts_with = "selectors")]
    all: bool,
    /// File to write the image to, for one gateway [default: NAME.iso]
    #[arg(short, long, value_name = "FILE", conflicts_with = "out_dir")]
    output: Option<PathBuf>,
    /// Folder to write the images into, as NAME.iso
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,
    /// Afterwards, delete the gateways' private keys from the state
    #[arg(long)]
    forget_key: bool,
    #[command(flatten)]
    parts: Parts,
}

impl Make {
    fn run(mut self, cx: &Context) -> Result<()> {
        let state = cx.state()?;
        let gateways = state.gateways();
        if self.all {
            self.selectors = vec![Selector::All];
        }
        let selected = Selected::new(&state, &self.selectors)?;
        if self.output.is_some() && selected.names.len() > 1 {
            bail!("-o names one file, but there are several gateways: use --out-dir");
        }
        let identity = |name: &GatewayName| {
            let identity = gateways.identity(name)?;
            usable_client(&identity.certificate)
                .with_context(|| format!("gateway {name} could not boot with its certificate"))?;
            Ok(identity)
        };
        // Checked for all gateways before the base is made, which takes long.
        let identities: Vec<_> = selected.names.iter().map(|name| (name, identity(name))).collect();
        let base = match identities.iter().any(|(_, identity)| identity.is_ok()) {
            true => Some(self.parts.base(cx, &state)?),
            false => None,
        };
        if let Some(dir) = &self.out_dir {
            as_caller(|| std::fs::create_dir_all(dir))
                .with_context(|| format!("cannot make the folder {}", dir.display()))?;
        }
        let make = |name: &GatewayName, identity: Result<Identity>| {
            let (identity, base) = (identity?, base.as_deref().context("no base image")?);
            let image = iso::seal(base, &identity, None)
                .with_context(|| format!("cannot make the image of gateway {name}"))?;
            let file = self.output.clone().unwrap_or_else(|| {
                self.out_dir.clone().unwrap_or_default().join(format!("{name}.iso"))
            });
            write(&file, PRIVATE, &image)?;
            Ok(Written { gateway: Some(name.clone()), file, size: image.len() })
        };
        let progress = cx.progress(identities.len() as u64, "sealing");
        let mut written = Vec::with_capacity(identities.len());
        for (name, identity) in identities {
            written.push((name, make(name, identity)));
            progress.inc(1);
        }
        progress.finish_and_clear();
        if self.forget_key {
            for (name, _) in written.iter().filter(|(_, result)| result.is_ok()) {
                gateways.forget_key(name)?;
            }
        }
        if let (true, 1) = (selected.is_one, written.len())
            && let Some((_, Err(error))) = written.pop_if(|(_, result)| result.is_err())
        {
            return Err(error);
        }
        let mut done = Done::new(cx, written.len());
        for (name, result) in written {
            done.note(name, result)?;
        }
        done.finish_as(selected.unknown, |images| WrittenList { images })
    }
}

/// `farmgate iso verify`.
#[derive(Args)]
pub(super) struct Verify {
    /// Image to read, or the device that it was written to
    #[arg(value_name = "FILE|DEVICE")]
    file: PathBuf,
    #[command(flatten)]
    origin: Origin,
}

impl Verify {
    fn run(self, cx: &Context) -> Result<()> {
        let image = sources::read_image(&self.file)?;
        let report = self.origin.verify(cx, &self.file, &image)?;
        cx.print(&report)?;
        if !report.problems.is_empty() {
            bail!("{} is not in order: {}", self.file.display(), report.problems.join("; "));
        }
        Ok(())
    }
}

/// The other side of a comparison.
#[derive(Args)]
struct Origin {
    /// CA of the fleet that it should be for (certificate, PEM), if not that of the state
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Folder with the ipxe.lkrn and ipxe.efi that it was made from, if not the distribution's
    #[arg(long, env = "FARMGATE_IPXE", value_name = "DIR")]
    ipxe: Option<PathBuf>,
    /// Folder with the isolinux.bin, isohdpfx.bin and ldlinux.c32 that it was made from, if not
    /// the distribution's
    #[arg(long, env = "FARMGATE_SYSLINUX", value_name = "DIR")]
    syslinux: Option<PathBuf>,
}

impl Origin {
    fn verify(&self, cx: &Context, file: &Path, image: &[u8]) -> Result<iso::Report> {
        let ca = ca(cx, self.ca.as_deref())?;
        let (ipxe, syslinux) =
            (Ipxe::find(self.ipxe.as_deref()), Syslinux::find(self.syslinux.as_deref()));
        // A missing default is not compared; a folder named by the operator must exist.
        let ipxe = if self.ipxe.is_some() { Some(ipxe?) } else { ipxe.ok() };
        let syslinux = if self.syslinux.is_some() { Some(syslinux?) } else { syslinux.ok() };
        let at_hand =
            AtHand { ca: ca.as_deref(), ipxe: ipxe.as_ref(), syslinux: syslinux.as_ref() };
        iso::verify(image, &at_hand, now())
            .with_context(|| format!("{} is not in order", file.display()))
    }
}

fn write(path: &Path, mode: u32, image: &[u8]) -> Result<()> {
    files::export(path, mode, |file| file.write_all(image))
}

/// An image that was written.
#[derive(Serialize)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<GatewayName>,
    file: PathBuf,
    size: usize,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.file.display(), self.size)
    }
}

/// The images that one call wrote.
#[derive(Serialize)]
struct WrittenList {
    images: Vec<Row<Written>>,
}

impl fmt::Display for WrittenList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.images.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}
