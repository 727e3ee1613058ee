//! `farmgate gateway`: the life of gateways and their certificates.

mod certificate;
mod issue;
mod rename;
mod revoke;
mod show;

use anyhow::Result;
use clap::Subcommand;

use super::context::Context;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Register a gateway and issue (or take over) its certificate
    Add(issue::Add),
    /// List all gateways
    List(show::List),
    /// Show one gateway and its certificates
    Show(show::Show),
    /// Give a gateway a new certificate; those it has stay valid until they are revoked
    Renew(issue::Renew),
    /// Change the settings of a gateway
    Set(show::Set),
    /// Give a gateway another name; its media, generations and bucket stay
    Rename(rename::Rename),
    /// Revoke certificates of a gateway, at once and for good
    Revoke(revoke::Revoke),
    /// Revoke all certificates of a gateway and delete it, its keys and generations
    Remove(revoke::Remove),
}

impl Command {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Add(command) => command.run(context),
            Self::List(command) => command.run(context),
            Self::Show(command) => command.run(context),
            Self::Renew(command) => command.run(context),
            Self::Set(command) => command.run(context),
            Self::Rename(command) => command.run(context),
            Self::Revoke(command) => command.run(context),
            Self::Remove(command) => command.run(context),
        }
    }
}
