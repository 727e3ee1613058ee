//! `farmgate rollout list`.

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use serde::Serializer;
use serde::ser::Error as _;
use serde::ser::SerializeMap;

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

struct RolloutRow {
    id: EventId,
    stored: StoredRollout,
}

/// The keys of its file have hyphens; those that commands print have underscores.
impl Serialize for RolloutRow {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let stored = serde_json::to_value(&self.stored).map_err(S::Error::custom)?;
        let stored = stored.as_object().into_iter().flatten();
        let mut row = to.serialize_map(None)?;
        row.serialize_entry("id", &self.id)?;
        for (key, value) in stored {
            row.serialize_entry(&key.replace('-', "_"), value)?;
        }
        row.end()
    }
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
