//! `farmgate generations`, `rollback`, `pin` and `release`.

use anyhow::Result;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::author::Why;
use super::context::Context;
use super::context::Gateway;
use super::context::now;
use super::damage::Damage;
use super::files;
use super::store;
use crate::fleet::Generation;
use crate::fleet::Reason;
use crate::fleet::decide;
use crate::identity::GatewayName;
use crate::publish;
use crate::publish::Served;
use crate::store::generations::Readable;

#[derive(clap::Args)]
pub(super) struct Generations {
    #[command(flatten)]
    gateway: Gateway,
    /// Show the files of one generation: path, size, SHA-256 [default: of the current one]
    #[arg(long, value_name = "N", num_args = 0..=1)]
    files: Option<Option<u64>>,
}

#[derive(Serialize)]
struct Listing {
    gateway: GatewayName,
    /// The generation that was activated last.
    current: Option<u64>,
    /// The generation that the next boot gets, and the reason.
    next: Option<Next>,
    generations: Vec<GenerationRow>,
}

#[derive(Serialize)]
struct Next {
    generation: u64,
    #[serde(flatten)]
    reason: Reason,
}

#[derive(Serialize)]
struct GenerationRow {
    generation: u64,
    #[serde(with = "time::serde::rfc3339")]
    published: OffsetDateTime,
    files: usize,
    bytes: u64,
    boots: u32,
    good: bool,
    /// Its files were removed by `farmgate gc`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dropped: bool,
}

impl std::fmt::Display for Listing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.generations.is_empty() {
            let name = &self.gateway;
            return write!(f, "nothing is published yet; `farmgate publish {name} DIR` does it");
        }
        write!(f, "  GENERATION  PUBLISHED             FILES       BYTES  BOOTS  GOOD")?;
        for row in self.generations.iter().rev() {
            let mark = if Some(row.generation) == self.current { '*' } else { ' ' };
            let second = row.published.replace_nanosecond(0).unwrap_or(row.published);
            let published = second.format(&Rfc3339).unwrap_or_default();
            write!(
                f,
                "\n{mark} {:>10}  {published}  {:>5}  {:>10}  {:>5}  {:<4}",
                row.generation,
                row.files,
                row.bytes,
                row.boots,
                match (row.dropped, row.good) {
                    (true, _) => "files removed by `farmgate gc`",
                    (false, true) => "yes",
                    (false, false) => "-",
                }
            )?;
        }
        self.next.as_ref().map_or(Ok(()), |Next { generation, reason }| {
            write!(f, "\nthe next boot gets generation {generation}: {reason}")
        })
    }
}

impl Generations {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        if let Some(number) = self.files {
            return files::list(context, &self.gateway.name, number);
        }
        let state = context.state()?;
        let record = state.gateways().load(&self.gateway.name)?;
        let generations = crate::store::generations::Generations::new(&state);
        let Readable { history, damaged } = generations.readable(&record.id)?;
        let mut damage = Damage::default();
        for error in &damaged {
            damage.note(&record.name, error);
        }
        let row = |generation: &Generation| GenerationRow {
            generation: generation.number,
            published: generation.published,
            files: generation.files().len(),
            bytes: generation.files().values().map(|asset| asset.size).sum(),
            boots: history.trial(generation.number).tries,
            good: history.trial(generation.number).is_good(),
            dropped: history.is_dropped(generation.number),
        };
        let next = decide(&history, record.policy(state.config().assessment.tries));
        context.print(&Listing {
            gateway: record.name,
            next: next.map(|decision| Next {
                generation: decision.generation.number,
                reason: decision.reason,
            }),
            current: history.current().map(|generation| generation.number),
            generations: history.generations().map(|generation| row(generation)).collect(),
        })?;
        damage.result()
    }
}

#[derive(clap::Args)]
pub(super) struct Rollback {
    #[command(flatten)]
    gateway: Gateway,
    /// Number of the generation [default: the one that was current before]
    #[arg(value_name = "N")]
    generation: Option<u64>,
    #[command(flatten)]
    why: Why,
}

#[derive(clap::Args)]
pub(super) struct Pin {
    #[command(flatten)]
    gateway: Gateway,
    /// Number of the generation [default: the current one]
    #[arg(value_name = "N")]
    generation: Option<u64>,
    #[command(flatten)]
    why: Why,
}

#[derive(clap::Args)]
pub(super) struct Release {
    #[command(flatten)]
    gateway: Gateway,
    #[command(flatten)]
    why: Why,
}

#[derive(Serialize)]
struct Chosen {
    gateway: GatewayName,
    generation: u64,
    /// The pinned generation, which is served instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pinned: Option<u64>,
    #[serde(skip)]
    how: &'static str,
}

/// Prints that a pin keeps a new current generation from being served.
pub(super) fn held_back(
    f: &mut std::fmt::Formatter<'_>,
    gateway: &GatewayName,
    generation: u64,
    pinned: u64,
) -> std::fmt::Result {
    write!(
        f,
        "generation {generation} is current, but {gateway} gets generation {pinned}, which is pinned: \
         `farmgate release {gateway}` takes the pin away"
    )
}

impl std::fmt::Display for Chosen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pinned {
            Some(pinned) => held_back(f, &self.gateway, self.generation, pinned),
            None => {
                write!(f, "{} now gets generation {}{}", self.gateway, self.generation, self.how)
            }
        }
    }
}

impl Rollback {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let record = state.gateways().load(&self.gateway.name)?;
        store::fetch(&state, &record, self.generation)?;
        let served = publish::rollback(&state, &record, self.generation, &self.why.by(), now())?;
        let Served { generation, pinned } = served;
        context.print(&Chosen { gateway: record.name, generation, pinned, how: " again" })
    }
}

impl Pin {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let record = state.gateways().load(&self.gateway.name)?;
        store::fetch(&state, &record, self.generation)?;
        let Served { generation, .. } =
            publish::pin(&state, &record, self.generation, &self.why.by(), now())?;
        let how = ", whatever comes, until the pin is released";
        context.print(&Chosen { gateway: record.name, generation, pinned: None, how })
    }
}

impl Release {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let record = state.gateways().load(&self.gateway.name)?;
        let Served { generation, .. } = publish::release(&state, &record, &self.why.by(), now())?;
        let how = ", if it works";
        context.print(&Chosen { gateway: record.name, generation, pinned: None, how })
    }
}
