//! `farmgate iso verify`: says what is on an image or a stick.

use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use clap::Args;

use super::ca;
use crate::cli::context::Context;
use crate::cli::context::now;
use crate::iso;
use crate::iso::AtHand;
use crate::iso::sources;
use crate::iso::sources::Ipxe;
use crate::iso::sources::Syslinux;

/// `farmgate iso verify`.
#[derive(Args)]
pub(in crate::cli) struct Verify {
    /// Image to read, or the device that it was written to
    #[arg(value_name = "FILE|DEVICE")]
    file: PathBuf,
    #[command(flatten)]
    origin: Origin,
}

impl Verify {
    pub(super) fn run(self, cx: &Context) -> Result<()> {
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
pub(super) struct Origin {
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
    pub(super) fn verify(&self, cx: &Context, file: &Path, image: &[u8]) -> Result<iso::Report> {
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
