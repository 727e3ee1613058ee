//! `farmgate store new-host`.

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;
use anyhow::ensure;
use clap::Args;
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::context::now;
use crate::config::BootUrl;

/// `farmgate store new-host`.
#[derive(Args)]
pub(in crate::cli) struct NewHost {
    /// Directory to move to that host, as its state; it holds keys
    dir: PathBuf,
    /// URL at which gateways and the systems that they boot find that host, if it has a name of
    /// its own
    #[arg(long)]
    url: Option<BootUrl>,
}

impl NewHost {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let (state, Self { dir, url }) = (context.state()?, self);
        ensure!(
            state.config().store.url.is_some(),
            "two boot hosts need a store that both see: name one in [store] url first"
        );
        state.new_host(&dir, url.as_ref(), now())?;
        let known = &state.config().media.fallback_urls;
        let unknown = url.filter(|url| !known.contains(url));
        context.print(&Made { host: dir, unknown })
    }
}

#[derive(Serialize)]
struct Made {
    host: PathBuf,
    /// The host's URL, if media do not know it.
    #[serde(skip)]
    unknown: Option<BootUrl>,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is the state of another boot host: move it there, and keep it secret on the way",
            self.host.display()
        )?;
        if let Some(url) = &self.unknown {
            write!(
                f,
                "\nmedia do not know it: add {url} to [media] fallback-urls, and make new ones"
            )?;
        }
        Ok(())
    }
}
