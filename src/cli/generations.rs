use anyhow::Result;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Context;
use super::now;
use crate::identity::GatewayName;
use crate::publish;
use crate::store;

#[derive(clap::Args)]
pub(super) struct Generations {
    #[command(flatten)]
    gateway: super::Gateway,
}

#[derive(Serialize)]
struct Listing {
    gateway: GatewayName,
    current: Option<u64>,
    generations: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    generation: u64,
    #[serde(with = "time::serde::rfc3339")]
    published: OffsetDateTime,
    files: usize,
    bytes: u64,
}

impl std::fmt::Display for Listing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.generations.is_empty() {
            let name = &self.gateway;
            return write!(f, "nothing is published yet; `farmgate publish {name} DIR` does it");
        }
        write!(f, "  GENERATION  PUBLISHED             FILES       BYTES")?;
        for row in self.generations.iter().rev() {
            let mark = if Some(row.generation) == self.current { '*' } else { ' ' };
            let second = row.published.replace_nanosecond(0).unwrap_or(row.published);
            let published = second.format(&Rfc3339).unwrap_or_default();
            write!(
                f,
                "\n{mark} {:>10}  {published}  {:>5}  {:>10}",
                row.generation, row.files, row.bytes
            )?;
        }
        Ok(())
    }
}

impl Generations {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let record = state.gateways().load(&self.gateway.name)?;
        let history = store::generations::Generations::new(&state).history(&record.id)?;
        let row = |generation: &store::events::Generation| Row {
            generation: generation.number,
            published: generation.published,
            files: generation.files().len(),
            bytes: generation.files().values().map(|asset| asset.size).sum(),
        };
        context.print(&Listing {
            gateway: record.name,
            current: history.current().map(|generation| generation.number),
            generations: history.generations().map(|generation| row(generation)).collect(),
        })
    }
}

#[derive(clap::Args)]
pub(super) struct Rollback {
    #[command(flatten)]
    gateway: super::Gateway,
    /// Number of the generation; the one that was served before if left out
    #[arg(value_name = "N")]
    generation: Option<u64>,
}

#[derive(Serialize)]
struct RolledBack {
    gateway: GatewayName,
    generation: u64,
}

impl std::fmt::Display for RolledBack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} now gets generation {} again", self.gateway, self.generation)
    }
}

impl Rollback {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let record = state.gateways().load(&self.gateway.name)?;
        let generation = publish::rollback(&state, &record, self.generation, now())?;
        context.print(&RolledBack { gateway: record.name, generation })
    }
}
