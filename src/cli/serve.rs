//! `farmgate serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;

use super::context::Context;
use super::context::runtime;
use crate::server;
use crate::server::GivenDoors;
use crate::server::Source;
use crate::store::owner;

#[derive(clap::Args)]
pub(super) struct Serve {
    /// Listen here with own mutual TLS, in place of the addresses in the configuration
    #[arg(long, value_name = "ADDRESS:PORT")]
    tls: Option<SocketAddr>,
    /// Listen on this Unix socket for nginx, in place of the addresses in the configuration
    #[arg(long, value_name = "PATH")]
    unix: Option<PathBuf>,
    /// Only check configuration, certificates and CRL
    #[arg(long)]
    check: bool,
}

impl Serve {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let given = self.tls.is_some() || self.unix.is_some();
        let doors = given.then_some(GivenDoors { tls: self.tls, unix: self.unix });
        let source = Source { state: context.state.clone(), config: context.config.clone(), doors };
        // Before any thread starts, so that all have the same rights.
        owner::work_as_owner_of(&context.state)?;
        if self.check {
            return server::check(&source);
        }
        runtime()?.block_on(server::run(source))
    }
}
