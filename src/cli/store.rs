use std::fmt;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use clap::Subcommand;

use super::Context;
use crate::replica::Replica;
use crate::replica::Report;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Bring this boot host and the common store in step once, now
    Sync,
    /// Write the state of another boot host of this fleet to a new directory
    NewHost {
        /// To be moved to that host, as its state directory; holds keys
        dir: PathBuf,
    },
}

impl Command {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Sync => {
                let state = context.state()?;
                let report = runtime()?.block_on(async {
                    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
                    let replica = Replica::open(&state, credentials.as_ref().map(AsRef::as_ref))?;
                    let replica = replica.context(
                        "this boot host is alone: [store] url in its configuration names no store",
                    )?;
                    replica.pass().await.with_context(|| format!("the store {}", replica.shown()))
                })?;
                context.print(&Synced(report))
            }
            Self::NewHost { dir } => {
                let state = context.state()?;
                ensure!(
                    state.config().store.url.is_some(),
                    "two boot hosts need a store that both see: name one in [store] url first"
                );
                state.new_host(&dir)?;
                context.print(&Made { host: dir })
            }
        }
    }
}

#[derive(serde::Serialize)]
struct Made {
    host: PathBuf,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is the state of another boot host: move it there, and keep it secret on the way",
            self.host.display()
        )
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")
}

#[derive(serde::Serialize)]
#[serde(transparent)]
struct Synced(Report);

impl fmt::Display for Synced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { pushed, pulled, held_back, left_out } = self.0;
        write!(f, "delivered {pushed}, brought {pulled}")?;
        if held_back > 0 {
            write!(f, "; {held_back} new generations wait for their files")?;
        }
        if left_out > 0 {
            write!(f, "; left out {left_out} that this farmgate cannot read")?;
        }
        Ok(())
    }
}
