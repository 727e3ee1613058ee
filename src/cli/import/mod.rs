//! `farmgate import`: takes over the fleets of other boot servers.

mod convert;
mod source;
mod take_over;
mod valve_infra;

use anyhow::Result;
use clap::Subcommand;

use super::context::Context;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Take over the CA, the gateways and what they boot from valve-infra's ipxe-boot-server
    ValveInfra(valve_infra::ValveInfra),
}

impl Command {
    pub(super) fn run(self, cx: &Context) -> Result<()> {
        match self {
            Self::ValveInfra(command) => command.run(cx),
        }
    }
}
