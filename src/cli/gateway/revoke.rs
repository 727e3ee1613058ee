//! `farmgate gateway revoke` and `remove`.

use std::fmt;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::cli::author::Why;
use crate::cli::confirm::Confirm;
use crate::cli::confirm::Unattended;
use crate::cli::context::Context;
use crate::cli::context::now;
use crate::cli::selector::Gateways;
use crate::cli::selector::Selected;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;
use crate::store::State;

/// `farmgate gateway revoke`.
#[derive(Args)]
pub(in crate::cli) struct Revoke {
    #[command(flatten)]
    gateways: Gateways,
    /// Only the certificate with this fingerprint, not all
    #[arg(long, value_name = "FP")]
    fingerprint: Option<Fingerprint>,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    why: Why,
}

impl Revoke {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let which = match &self.fingerprint {
            Some(fingerprint) => format!("Revoke the certificate {fingerprint} of"),
            None => "Revoke all certificates of".to_owned(),
        };
        let selected = confirmed(&state, &self.gateways, &self.confirm, |names| {
            format!("{which} {names}? Media with them never boot again.")
        })?;
        let by = self.why.by();
        selected.each(context, |name| {
            let revoked = state.revoke(name, self.fingerprint.as_ref(), &by, now())?;
            Ok(Revoked { gateway: name.clone(), revoked })
        })
    }
}

/// `farmgate gateway remove`.
#[derive(Args)]
pub(in crate::cli) struct Remove {
    #[command(flatten)]
    gateways: Gateways,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    why: Why,
}

impl Remove {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let selected = confirmed(&state, &self.gateways, &self.confirm, |names| {
            format!(
                "Remove {names}, with all keys and generations? The media never boot again, and \
                 nothing brings this back."
            )
        })?;
        let by = self.why.by();
        selected.each(context, |name| {
            state.remove_gateway(name, &by, now())?;
            Ok(Removed { gateway: name.clone(), done: "removed" })
        })
    }
}

/// The gateways, once somebody has agreed. Scripts could name gateways before there were questions,
/// so where nobody can be asked, only groups need `--yes`.
fn confirmed(
    state: &State,
    gateways: &Gateways,
    confirm: &Confirm,
    question: impl FnOnce(&str) -> String,
) -> Result<Selected> {
    let selected = Selected::new(state, &gateways.selectors)?;
    let mut exist = state.gateways().names()?;
    exist.retain(|name| selected.names.contains(name));
    // A misspelled name needs no question: the command says that there is no such gateway.
    if !exist.is_empty() {
        let names: Vec<_> = exist.iter().map(GatewayName::as_str).collect();
        let what = match &names[..] {
            [one] => format!("gateway {one}"),
            all => format!("these {} gateways: {}", all.len(), all.join(" ")),
        };
        let unattended = match gateways.all_by_name() {
            true => Unattended::GoesOn,
            false => Unattended::NeedsYes,
        };
        confirm.ask(&question(&what), unattended)?;
    }
    Ok(selected)
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
    gateway: GatewayName,
    done: &'static str,
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.done, self.gateway)
    }
}
