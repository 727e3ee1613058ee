//! `farmgate store sync`.

use std::fmt;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use clap::Args;
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::context::runtime;
use crate::replica::Replica;
use crate::replica::Report;

/// `farmgate store sync`.
#[derive(Args)]
pub(in crate::cli) struct Sync {}

impl Sync {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let (report, lost) = runtime()?.block_on(async {
            let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
            let replica = Replica::open(&state, credentials.as_ref().map(AsRef::as_ref))?;
            let replica = replica.context(
                "this boot host is alone: [store] url in its configuration names no store",
            )?;
            let pass = async {
                let report = replica.pass().await?;
                replica.give_wanted().await?;
                anyhow::Ok((report, replica.mend().await?))
            };
            pass.await.with_context(|| format!("the store {}", replica.shown()))
        })?;
        context.print(&Synced(report))?;
        ensure!(
            lost.is_empty(),
            "files that the next boots need are missing or damaged here, and could not be \
                     had: {}",
            lost.join("; ")
        );
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Synced(Report);

impl fmt::Display for Synced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { pushed, pulled, records, held_back, left_out, .. } = self.0;
        write!(f, "delivered {pushed}, brought {pulled}, {records} gateways changed")?;
        if held_back > 0 {
            write!(f, "; {held_back} new generations wait for their files")?;
        }
        if left_out > 0 {
            write!(f, "; {left_out} objects ignored that this farmgate cannot read")?;
        }
        Ok(())
    }
}
