//! `farmgate gateway rename`.

use std::fmt;

use anyhow::Result;
use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use serde::Serialize;

use crate::cli::author::Why;
use crate::cli::candidates;
use crate::cli::context::Context;
use crate::cli::context::now;
use crate::cli::context::one_gateway;
use crate::fleet::Act;
use crate::fleet::act::What;
use crate::identity::GatewayName;
use crate::store::acts::Acts;

/// `farmgate gateway rename`.
#[derive(Args)]
pub(in crate::cli) struct Rename {
    /// Present name of the gateway
    #[arg(value_name = "OLD", value_parser = one_gateway, add = ArgValueCandidates::new(candidates::names))]
    old: GatewayName,
    /// Its new name
    #[arg(value_name = "NEW", value_parser = one_gateway)]
    new: GatewayName,
    #[command(flatten)]
    why: Why,
}

impl Rename {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let lock = state.lock()?;
        let record = state.gateways().rename(&lock, &self.old, &self.new)?;
        drop(lock);
        let act = Act::new(What::GatewayRenamed, Some(&self.why.by()), now()).of(&record);
        Acts::new(&state).note(&act.with_detail(&format!("formerly {}", self.old)));
        if let Some(dir) = &state.config().secrets.dir {
            let place = |name: &GatewayName| dir.join(name.as_str());
            if place(&self.old).exists() && !place(&self.new).exists() {
                context.warn(&[format!(
                    "the secrets of {0} are still in {1}: the server looks for {2} now",
                    self.new,
                    place(&self.old).display(),
                    place(&self.new).display()
                )]);
            }
        }
        context.print(&Renamed { gateway: record.name, done: "renamed", formerly: self.old })
    }
}

#[derive(Serialize)]
struct Renamed {
    gateway: GatewayName,
    done: &'static str,
    formerly: GatewayName,
}

impl fmt::Display for Renamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "renamed {} to {}: generations, certificates and bucket stay, and its media go on",
            self.formerly, self.gateway
        )
    }
}
