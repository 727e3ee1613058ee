//! `farmgate diff`: what differs between two generations of a gateway.

use anyhow::Result;

use super::context::Context;
use super::context::Gateway;
use crate::sync::Difference;

#[derive(clap::Args)]
pub(super) struct Diff {
    #[command(flatten)]
    gateway: Gateway,
    /// Number of the generation to compare [default: the one before]
    #[arg(value_name = "N")]
    from: Option<u64>,
    /// Number of the generation to compare it with [default: the current one]
    #[arg(value_name = "M")]
    to: Option<u64>,
}

impl Diff {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let record = state.gateways().load(&self.gateway.name)?;
        context.print(&Difference::read(&state, &record, self.from, self.to)?)
    }
}
