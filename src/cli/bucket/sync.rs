//! `farmgate bucket sync`.

use std::path::Path;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use clap::Args;

use super::ensure_provider;
use super::list;
use crate::bucket::AnyProvider;
use crate::bucket::Disk;
use crate::bucket::Scope;
use crate::bucket::reconcile;
use crate::cli::context::Context;
use crate::identity::GatewayName;

/// `farmgate bucket sync`.
#[derive(Args)]
pub(in crate::cli) struct Sync {
    /// Only for this gateway
    #[arg(value_name = "NAME")]
    name: Option<GatewayName>,
}

impl Sync {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let (state, only) = (context.state()?, self.name);
        ensure_provider(&state)?;
        let buckets = &state.config().buckets;
        if let Some(name) = &only {
            state.gateways().load(name)?;
        }
        let systemd = std::env::var_os("CREDENTIALS_DIRECTORY");
        let connect = || AnyProvider::connect(buckets, systemd.as_deref().map(Path::new));
        let _lock = Disk::new(&state).reconciling()?;
        let report = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start")?
            .block_on(reconcile(&state, connect, &Scope { only, now: true }))?;
        if let Some((gateway, error)) = report.failed.first() {
            let others = match report.failed.len() - 1 {
                0 => String::new(),
                others => format!(" (and {others} more: `farmgate bucket list`)"),
            };
            bail!("the bucket of {gateway}: {error}{others}");
        }
        list::print(context, &state)
    }
}
