//! `farmgate rollout list`.

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::damage::Damage;
use crate::fleet::EventId;
use crate::store::rollouts::Rollouts;
use crate::store::rollouts::StoredRollout;

/// `farmgate rollout list`.
#[derive(Args)]
pub(in crate::cli) struct List {}

impl List {
    pub(super) fn run(self, context: &Context) -> Result<()> {
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
                "{end}{}  {}  gateways by wave: {}  {outcome}",
                id.short(),
                stored.began.date(),
                sizes.join(", ")
            )?;
            if stored.taken_back {
                write!(f, ", and taken back")?;
            }
            if let Some(by) = &stored.by {
                write!(f, "  ({}", by.author)?;
                if let Some(message) = &by.message {
                    write!(f, ": {message}")?;
                }
                write!(f, ")")?;
            }
        }
        Ok(())
    }
}
