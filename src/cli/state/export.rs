//! `farmgate state export`: what a plan needs to know of the state.

use anyhow::Result;

use crate::cli::context::Context;
use crate::cli::context::now;
use crate::sync::LiveFleet;

/// `farmgate state export`.
#[derive(clap::Args)]
pub(in crate::cli) struct Export {}

impl Export {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        context.print(&LiveFleet::read(&context.state()?, now())?)
    }
}
