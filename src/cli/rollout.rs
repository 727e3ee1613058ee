//! `farmgate rollout`.

use anyhow::Result;
use clap::Args;
use clap::Subcommand;
use serde::Serialize;

use super::context::Context;
use super::damage::Damage;
use crate::fleet::EventId;
use crate::store::rollouts;
use crate::store::rollouts::Rollouts;
use crate::store::rollouts::StoredRollout;

#[derive(Subcommand)]
pub(super) enum Command {
    /// List all rollouts
    List(List),
    /// Stop an open rollout: no other gateway gets its generation
    Stop(Stop),
}

impl Command {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::List(command) => command.run(context),
            Self::Stop(command) => command.run(context),
        }
    }
}

/// `farmgate rollout list`.
#[derive(Args)]
pub(super) struct List {}

impl List {
    fn run(self, context: &Context) -> Result<()> {
        let rollouts = Rollouts::new(&context.state()?);
        let (closed, open) = (rollouts.closed()?, rollouts.open()?);
        let all = closed.found.into_iter().chain(open.found);
        context.print(&RolloutList(all.map(|(id, stored)| RolloutRow { id, stored }).collect()))?;
        let mut damage = Damage::default();
        for error in closed.damaged.iter().chain(&open.damaged) {
            damage.note(&"a rollout", error);
        }
        damage.result()
    }
}

/// `farmgate rollout stop`.
#[derive(Args)]
pub(super) struct Stop {
    /// Id of the rollout, as `rollout list` shows it
    #[arg(value_parser = parse)]
    id: EventId,
}

impl Stop {
    fn run(self, context: &Context) -> Result<()> {
        rollouts::stop(&context.state()?, self.id)?;
        context.print(&Stopped { stopped: self.id })
    }
}

fn parse(text: &str) -> Result<EventId, &'static str> {
    EventId::parse(text).ok_or("not the id of a rollout")
}

#[derive(Serialize)]
struct RolloutRow {
    id: EventId,
    #[serde(flatten)]
    stored: StoredRollout,
}

#[derive(Serialize)]
#[serde(transparent)]
struct RolloutList(Vec<RolloutRow>);

impl std::fmt::Display for RolloutList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return write!(
                f,
                "no rollouts yet; `farmgate publish --canary NAME --then all DIR` begins one"
            );
        }
        for (number, RolloutRow { id, stored }) in self.0.iter().enumerate() {
            let sizes: Vec<_> =
                stored.rollout.waves.iter().map(|wave| wave.len().to_string()).collect();
            let outcome = stored.outcome.as_deref().unwrap_or("under way");
            let end = if number == 0 { "" } else { "\n" };
            write!(
                f,
                "{end}{id}  {}  gateways by wave: {}  {outcome}",
                stored.began.date(),
                sizes.join(", ")
            )?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Stopped {
    stopped: EventId,
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "stopped rollout {}", self.stopped)
    }
}
