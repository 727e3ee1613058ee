//! `farmgate state`: the state as a whole.

mod backup;
mod export;
mod named;
mod relocate;

use anyhow::Result;
use clap::Subcommand;

use super::context::Context;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Write a backup of the whole state to one file, while the server runs
    Backup(backup::Backup),
    /// Make the state from a backup
    Restore(backup::Restore),
    /// Move the state to another directory, also of another disk, while no server runs on it
    Move(relocate::Move),
    /// Print what gateways have now, without secrets, for `plan --state-json` elsewhere
    Export(export::Export),
}

impl Command {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Backup(command) => command.run(context),
            Self::Restore(command) => command.run(context),
            Self::Move(command) => command.run(context),
            Self::Export(command) => command.run(context),
        }
    }
}
