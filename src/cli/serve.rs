use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;

use super::Context;
use crate::server;
use crate::server::GivenDoors;
use crate::server::Source;
use crate::store::owner;

#[derive(clap::Args)]
pub(super) struct Serve {
    /// Listen here with own mutual TLS; the doors in the configuration are then not used
    #[arg(long, value_name = "ADDRESS:PORT")]
    tls: Option<SocketAddr>,
    /// Listen on this Unix socket for nginx; the doors in the configuration are then not used
    #[arg(long, value_name = "PATH")]
    unix: Option<PathBuf>,
    /// Only check what would be used: configuration, certificates, CRL
    #[arg(long)]
    check: bool,
}

impl Serve {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let given = self.tls.is_some() || self.unix.is_some();
        let doors = given.then_some(GivenDoors { tls: self.tls, unix: self.unix });
        let source = Source { state: context.state.clone(), config: context.config.clone(), doors };
        // Before there is any thread: all of them are to have the same rights.
        owner::work_as_owner_of(&context.state)?;
        if self.check {
            return server::check(&source);
        }
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start")?
            .block_on(server::run(source))
    }
}
