//! `farmgate rollout list`.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use serde::Serializer;
use serde::ser::Error as _;
use serde::ser::SerializeMap;

use crate::cli::context::Context;
use crate::cli::damage::Damage;
use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::fleet::History;
use crate::fleet::rollout::Member;
use crate::identity::GatewayName;
use crate::store::generations::Generations;
use crate::store::rollouts::Rollouts;
use crate::store::rollouts::StoredRollout;

/// `farmgate rollout list`.
#[derive(Args)]
pub(in crate::cli) struct List {}

impl List {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let rollouts = Rollouts::new(&state);
        let (closed, open) = (rollouts.closed()?, rollouts.open()?);
        let all = closed.found.into_iter().chain(open.found);
        // Only JSON names generations.
        let mut numbers = context.json.then(|| Numbers::new(Generations::new(&state)));
        let row = |(id, stored): (EventId, StoredRollout)| {
            let waves = match &mut numbers {
                Some(numbers) => numbers.waves(&stored.rollout.waves),
                None => Vec::new(),
            };
            RolloutRow { id, waves, stored }
        };
        context.print(&RolloutList(all.map(row).collect()))?;
        let mut damage = Damage::default();
        for error in closed.damaged.iter().chain(&open.damaged) {
            damage.note(&"a rollout", error);
        }
        damage.result()
    }
}

/// Numbers of the generations that rollouts bring. Reads the history of each gateway once.
struct Numbers {
    generations: Generations,
    known: BTreeMap<GatewayId, Option<History>>,
}

impl Numbers {
    fn new(generations: Generations) -> Self {
        Self { generations, known: BTreeMap::new() }
    }

    fn waves(&mut self, waves: &[Vec<Member>]) -> Vec<Vec<MemberRow>> {
        waves.iter().map(|wave| wave.iter().map(|member| self.row(member)).collect()).collect()
    }

    fn row(&mut self, member: &Member) -> MemberRow {
        let Self { generations, known } = self;
        let history = known.entry(member.id.clone()).or_insert_with(|| {
            // The list is not about gateways: one that cannot be read keeps its place in it.
            generations.readable(&member.id).ok().map(|readable| readable.history)
        });
        let found = history.as_ref().and_then(|history| history.by_id(member.generation));
        MemberRow {
            gateway: member.gateway.clone(),
            gateway_id: member.id.clone(),
            id: member.id.clone(),
            generation: found.map(|generation| generation.number),
            event: member.generation,
        }
    }
}

/// One gateway of a wave.
#[derive(Serialize)]
struct MemberRow {
    gateway: GatewayName,
    gateway_id: GatewayId,
    /// The key that `gateway_id` had before.
    id: GatewayId,
    /// Number of the generation; none if it is gone.
    generation: Option<u64>,
    /// The event that published it.
    event: EventId,
}

struct RolloutRow {
    id: EventId,
    /// For JSON.
    waves: Vec<Vec<MemberRow>>,
    stored: StoredRollout,
}

/// The keys of its file have hyphens; those that commands print have underscores.
impl Serialize for RolloutRow {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let stored = serde_json::to_value(&self.stored).map_err(S::Error::custom)?;
        let stored = stored.as_object().into_iter().flatten();
        let mut row = to.serialize_map(None)?;
        row.serialize_entry("rollout", &self.id)?;
        // The key that `rollout` had before.
        row.serialize_entry("id", &self.id)?;
        for (key, value) in stored {
            match key.as_str() {
                "waves" => row.serialize_entry(key, &self.waves)?,
                key => row.serialize_entry(&key.replace('-', "_"), value)?,
            }
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
        for (number, RolloutRow { id, stored, .. }) in self.0.iter().enumerate() {
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
