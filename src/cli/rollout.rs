//! `farmgate rollout`.

mod end;
mod list;
mod show;
mod view;

use std::str::FromStr;

use anyhow::Context as _;
use anyhow::Result;
use clap::Subcommand;

use super::context::Context;
use crate::fleet::EventId;
use crate::store::rollouts::Rollouts;

pub(super) use show::watch;
pub(super) use view::MemberView;

#[derive(Subcommand)]
pub(super) enum Command {
    /// List all rollouts
    List(list::List),
    /// Show a rollout: its waves, who acknowledged, who waits since when, who failed and how far
    /// it came
    Show(show::Show),
    /// Stop an open rollout: no other gateway gets its generation
    Stop(end::Stop),
    /// Go on with a rollout that was stopped, or that stopped by itself
    Resume(end::Resume),
}

impl Command {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::List(command) => command.run(context),
            Self::Show(command) => command.run(context),
            Self::Stop(command) => command.run(context),
            Self::Resume(command) => command.run(context),
        }
    }
}

/// The last digits of a rollout's id, or all of it.
#[derive(Clone)]
struct Tail(String);

/// Fewer digits are rather a slip than an id.
const FEWEST: usize = 4;

impl FromStr for Tail {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.chars().filter(char::is_ascii_hexdigit).count();
        let plain = |c: char| c.is_ascii_hexdigit() || c == '-';
        let is_tail =
            (FEWEST..=32).contains(&digits) && text.len() <= 36 && text.chars().all(plain);
        if is_tail { Ok(Self(text.to_owned())) } else { Err("not the id of a rollout") }
    }
}

/// The rollout that is meant; without an id the latest open one, or else the latest.
fn meant(rollouts: &Rollouts, tail: Option<&Tail>) -> Result<EventId> {
    if let Some(tail) = tail {
        return rollouts.by_tail(&tail.0);
    }
    let open = rollouts.open()?.found.into_keys().next_back();
    let latest = match open {
        None => rollouts.closed()?.found.into_keys().next_back(),
        open => open,
    };
    latest.context("no rollouts yet; `farmgate publish --canary NAME --then all DIR` begins one")
}
