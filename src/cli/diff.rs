//! `farmgate diff`: what differs between two generations of a gateway.

use anyhow::Result;
use clap_complete::engine::ArgValueCandidates;

use super::candidates;
use super::context::Context;
use super::selector::Selected;
use super::selector::Selector;
use crate::sync::Difference;

#[derive(clap::Args)]
pub(super) struct Diff {
    /// Gateway, @GROUP for each of a group, @all for each of all
    #[arg(value_name = "NAME|@GROUP", add = ArgValueCandidates::new(candidates::selectors))]
    selector: Selector,
    /// Number of the generation to compare [default: the one before]
    #[arg(value_name = "N")]
    from: Option<u64>,
    /// Number of the generation to compare it with [default: the current one]
    #[arg(value_name = "M")]
    to: Option<u64>,
}

impl Diff {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        Selected::new(&state, &[self.selector])?.each(context, |name| {
            Difference::read(&state, &state.gateways().load(name)?, self.from, self.to)
        })
    }
}
