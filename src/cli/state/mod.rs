//! `farmgate state`: the state as a whole.

mod export;

use anyhow::Result;
use clap::Subcommand;

use super::context::Context;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Print what gateways have now, without secrets, for `plan --state-json` elsewhere
    Export(export::Export),
}

impl Command {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Export(command) => command.run(context),
        }
    }
}
