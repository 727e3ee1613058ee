//! `farmgate iso`: makes, seals and reads boot images.

mod flash;
mod make;
mod parts;
mod seal;
mod verify;

use std::fmt;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use clap::Args;
use clap::Subcommand;
use serde::Serialize;

use self::parts::PUBLIC;
pub(super) use self::parts::Parts;
use super::context::Context;
use crate::identity::Certificate;
use crate::identity::GatewayName;
use crate::store::files;

/// A sealed image holds a private key.
const PRIVATE: u32 = 0o600;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make the base image: iPXE for BIOS and UEFI, and an empty slot
    Base(Base),
    /// Write an identity into the slot of an image
    Seal(seal::Seal),
    /// Make the images of gateways: base (kept for the next time) and seal in one
    Make(make::Make),
    /// Show what is on an image or a stick; never the key
    Verify(verify::Verify),
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

/// The named CA, or else that of the state, if there is one: an image can be read anywhere.
fn ca(cx: &Context, named: Option<&Path>) -> Result<Option<Vec<u8>>> {
    let Some(path) = named else {
        return Ok(cx.state().and_then(|state| state.ca_certificate()).ok());
    };
    let certificate = Certificate::from_pem(&files::read_given(path)?)
        .with_context(|| format!("cannot use {}", path.display()))?;
    Ok(Some(certificate.der))
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
