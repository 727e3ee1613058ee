use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;

use super::Context;
use crate::server;

#[derive(clap::Args)]
pub(super) struct Serve {
    /// Listen here with own mutual TLS; the doors in the configuration are then not used
    #[arg(long, value_name = "ADDRESS:PORT")]
    tls: Option<SocketAddr>,
    /// Listen on this Unix socket for nginx; the doors in the configuration are then not used
    #[arg(long, value_name = "PATH")]
    unix: Option<PathBuf>,
}

impl Serve {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let mut listen = state.config().listen.clone();
        if self.tls.is_some() || self.unix.is_some() {
            listen.tls = self.tls;
            listen.unix = self.unix;
        }
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start")?
            .block_on(server::run(state, listen))
    }
}
