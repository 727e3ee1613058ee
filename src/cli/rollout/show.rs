//! `farmgate rollout show`, once or until the end.

use std::thread;

use anyhow::Result;
use anyhow::bail;
use clap::Args;

use super::Tail;
use super::meant;
use super::view::MemberView;
use super::view::View;
use crate::cli::context::Context;
use crate::cli::follow::PAUSE;
use crate::cli::follow::changes;
use crate::fleet::EventId;
use crate::store::State;
use crate::store::rollouts::End;
use crate::store::rollouts::Rollouts;

/// `farmgate rollout show`.
#[derive(Args)]
pub(in crate::cli) struct Show {
    /// The last digits of its id, as `rollout list` shows them [default: the latest open one, or
    /// else the latest]
    #[arg(value_name = "ID")]
    id: Option<Tail>,
    /// Show every change until the end; fails if the rollout does not finish
    #[arg(long)]
    watch: bool,
}

impl Show {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let id = meant(&Rollouts::new(&state), self.id.as_ref())?;
        if !self.watch {
            return context.print(&read(&state, id)?);
        }
        if context.json {
            // One document, which is that of the end.
            let watched = watch(context, &state, id);
            context.print(&read(&state, id)?)?;
            return watched;
        }
        context.print(&read(&state, id)?)?;
        watch(context, &state, id)
    }
}

fn read(state: &State, id: EventId) -> Result<View> {
    View::read(state, id, Rollouts::new(state).load(id)?)
}

/// Tells every change of a rollout until its end; with `--json` nothing. Fails if it does not
/// finish.
pub(in crate::cli) fn watch(context: &Context, state: &State, id: EventId) -> Result<()> {
    let members = |view: &View| view.members().cloned().collect::<Vec<MemberView>>();
    let mut view = read(state, id)?;
    while view.end.is_none() {
        thread::sleep(PAUSE);
        let now = read(state, id)?;
        changes(context, &members(&view), &members(&now))?;
        view = now;
    }
    let outcome = view.outcome.clone().unwrap_or_default();
    context.say(&outcome)?;
    match view.end {
        Some(End::Finished) => Ok(()),
        _ => bail!("rollout {}: {outcome}", id.short()),
    }
}
