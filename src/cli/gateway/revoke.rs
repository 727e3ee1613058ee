//! `farmgate gateway revoke` and `remove`.

use std::fmt;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::cli::author::Why;
use crate::cli::context::Context;
use crate::cli::context::Gateway;
use crate::cli::context::now;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;

/// `farmgate gateway revoke`.
#[derive(Args)]
pub(in crate::cli) struct Revoke {
    #[command(flatten)]
    gateway: Gateway,
    /// Only the certificate with this fingerprint, not all
    #[arg(long, value_name = "FP")]
    fingerprint: Option<Fingerprint>,
    #[command(flatten)]
    why: Why,
}

impl Revoke {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let (state, name) = (context.state()?, self.gateway.name);
        let revoked = state.revoke(&name, self.fingerprint.as_ref(), &self.why.by(), now())?;
        context.print(&Revoked { gateway: name, revoked })
    }
}

/// `farmgate gateway remove`.
#[derive(Args)]
pub(in crate::cli) struct Remove {
    #[command(flatten)]
    gateway: Gateway,
    #[command(flatten)]
    why: Why,
}

impl Remove {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let (state, name) = (context.state()?, self.gateway.name);
        state.remove_gateway(&name, &self.why.by(), now())?;
        context.print(&Removed { removed: name })
    }
}

#[derive(Serialize)]
struct Revoked {
    gateway: GatewayName,
    revoked: Vec<Fingerprint>,
}

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.revoked.is_empty() {
            return write!(f, "{}: revoked already", self.gateway);
        }
        write!(f, "revoked {}", self.gateway)?;
        self.revoked.iter().try_for_each(|fingerprint| write!(f, "\n{fingerprint}"))
    }
}

#[derive(Serialize)]
struct Removed {
    removed: GatewayName,
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "removed {}", self.removed)
    }
}
