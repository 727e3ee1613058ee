//! `farmgate iso seal`: writes an identity into the slot of an image.

use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::PRIVATE;
use super::Written;
use super::ca;
use super::write;
use crate::cli::candidates;
use crate::cli::context::Context;
use crate::cli::context::one_gateway;
use crate::identity::GatewayName;
use crate::identity::Identity;
use crate::identity::IdentityError;
use crate::iso;
use crate::iso::sources;
use crate::store::files;

/// `farmgate iso seal`.
#[derive(Args)]
pub(in crate::cli) struct Seal {
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
    pub(super) fn run(self, cx: &Context) -> Result<()> {
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
