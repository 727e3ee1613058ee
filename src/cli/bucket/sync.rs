//! `farmgate bucket sync`.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::ensure_provider;
use super::list;
use crate::bucket::AnyProvider;
use crate::bucket::Disk;
use crate::bucket::Scope;
use crate::bucket::reconcile;
use crate::cli::candidates;
use crate::cli::context::Context;
use crate::cli::selector::Selected;
use crate::cli::selector::Selector;
use crate::identity::GatewayName;
use crate::store::State;

/// `farmgate bucket sync`.
#[derive(Args)]
pub(in crate::cli) struct Sync {
    /// Only for these gateways: names, @GROUP for those of a group, @all for all
    #[arg(value_name = "NAME|@GROUP", add = ArgValueCandidates::new(candidates::selectors))]
    selectors: Vec<Selector>,
}

impl Sync {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        ensure_provider(&state)?;
        let buckets = &state.config().buckets;
        let only = match &self.selectors[..] {
            // Also those of removed gateways.
            [] => None,
            selectors => Some(named(&state, selectors)?),
        };
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

fn named(state: &State, selectors: &[Selector]) -> Result<BTreeSet<GatewayName>> {
    let selected = Selected::new(state, selectors)?;
    if let Some((name, error)) = selected.unknown.into_iter().next() {
        return Err(error.context(format!("nobody knows whether the group has {name}")));
    }
    for name in &selected.names {
        state.gateways().load(name)?;
    }
    Ok(selected.names.into_iter().collect())
}
