//! `farmgate store`: the store that several boot hosts share.

mod copy;
mod fetch;
mod new_host;
mod sync;

use anyhow::Result;
use clap::Subcommand;

use super::context::Context;
pub(super) use fetch::fetch;
pub(super) use fetch::fetch_files;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Synchronise this boot host with the shared store once, now, and repair damaged files
    Sync(sync::Sync),
    /// Copy a whole store: from a directory to a bucket, or the other way round
    Copy(copy::Copy),
    /// Write the state of another boot host of this fleet to a new directory
    NewHost(new_host::NewHost),
}

impl Command {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Sync(command) => command.run(context),
            Self::Copy(command) => command.run(context),
            Self::NewHost(command) => command.run(context),
        }
    }
}
