use anyhow::Result;
use clap::Subcommand;
use serde::Serialize;

use super::Context;
use super::damage::Damage;
use crate::fleet::EventId;
use crate::store::rollouts;
use crate::store::rollouts::Rollouts;
use crate::store::rollouts::Stored;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Show rollouts
    List,
    /// End an open rollout: no other gateway gets its generation
    Stop {
        /// As `rollout list` shows it
        #[arg(value_parser = parse)]
        id: EventId,
    },
}

fn parse(text: &str) -> Result<EventId, &'static str> {
    EventId::parse(text).ok_or("not the id of a rollout")
}

#[derive(Serialize)]
struct Row {
    id: EventId,
    #[serde(flatten)]
    stored: Stored,
}

#[derive(Serialize)]
#[serde(transparent)]
struct List(Vec<Row>);

impl std::fmt::Display for List {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return write!(
                f,
                "no rollouts yet; `farmgate publish --canary NAME --then all DIR` begins one"
            );
        }
        for (number, Row { id, stored }) in self.0.iter().enumerate() {
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

impl Command {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        match self {
            Self::List => {
                let rollouts = Rollouts::new(&state);
                let (closed, open) = (rollouts.closed()?, rollouts.open()?);
                let all = closed.found.into_iter().chain(open.found);
                context.print(&List(all.map(|(id, stored)| Row { id, stored }).collect()))?;
                let mut damage = Damage::default();
                for error in closed.damaged.iter().chain(&open.damaged) {
                    damage.note(&"a rollout", error);
                }
                damage.result()
            }
            Self::Stop { id } => {
                rollouts::stop(&state, id)?;
                context.print(&Stopped { stopped: id })
            }
        }
    }
}
