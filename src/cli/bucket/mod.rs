//! `farmgate bucket`: the gateways' buckets and their keys.

mod list;
mod sync;
mod wish;

use anyhow::Result;
use anyhow::ensure;
use clap::Subcommand;

pub(super) use self::wish::adopt;
use super::context::Context;
use crate::store::State;

#[derive(Subcommand)]
pub(super) enum Command {
    /// List the bucket of each gateway, and the age of its key
    List(list::List),
    /// Give a gateway a new key with its next boot; the old one is deleted once that boot is
    /// acknowledged
    Rotate(wish::Rotate),
    /// Give a gateway an existing bucket, with the data in it
    Adopt(wish::Adopt),
    /// Create and delete buckets and keys as needed, now; the server does it in the background
    Sync(sync::Sync),
}

impl Command {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::List(command) => command.run(context),
            Self::Rotate(command) => command.run(context),
            Self::Adopt(command) => command.run(context),
            Self::Sync(command) => command.run(context),
        }
    }
}

fn ensure_provider(state: &State) -> Result<()> {
    ensure!(
        state.config().buckets.provider.is_some(),
        "gateways have no buckets: buckets.provider is \"none\" (docs/buckets.md)"
    );
    Ok(())
}
