//! `farmgate generations`, `rollback`, `pin` and `release`.

use anyhow::Result;
use clap_complete::engine::ArgValueCandidates;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::author::Why;
use super::candidates;
use super::context::Context;
use super::context::now;
use super::damage::Damage;
use super::files;
use super::selector::Gateways;
use super::selector::Selected;
use super::selector::Selector;
use super::store;
use crate::fleet::Generation;
use crate::fleet::Reason;
use crate::fleet::Record;
use crate::fleet::decide;
use crate::identity::GatewayName;
use crate::publish;
use crate::publish::Served;
use crate::store::State;
use crate::store::generations::Readable;

#[derive(clap::Args)]
pub(super) struct Generations {
    #[command(flatten)]
    gateways: Gateways,
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
    /// Shown among those of other gateways.
    #[serde(skip)]
    is_one_of_many: bool,
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
        if self.is_one_of_many {
            writeln!(f, "{}", self.gateway)?;
        }
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
        let state = context.state()?;
        let mut damage = Damage::default();
        let selected = Selected::new(&state, &self.gateways.selectors)?;
        if let Some(number) = self.files {
            return selected.each(context, |name| files::Listing::read(&state, name, number));
        }
        let is_one_of_many = !selected.is_one;
        selected.each(context, |name| {
            Ok(Listing { is_one_of_many, ..Listing::read(&state, name, &mut damage)? })
        })?;
        damage.result()
    }
}

impl Listing {
    fn read(state: &State, name: &GatewayName, damage: &mut Damage) -> Result<Self> {
        let record = state.gateways().load(name)?;
        let generations = crate::store::generations::Generations::new(state);
        let Readable { history, damaged } = generations.readable(&record.id)?;
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
        Ok(Self {
            gateway: record.name,
            next: next.map(|decision| Next {
                generation: decision.generation.number,
                reason: decision.reason,
            }),
            current: history.current().map(|generation| generation.number),
            generations: history.generations().map(|generation| row(generation)).collect(),
            is_one_of_many: false,
        })
    }
}

#[derive(clap::Args)]
#[command(override_usage = "farmgate rollback [OPTIONS] <NAME|@GROUP>... [N]")]
pub(super) struct Rollback {
    /// Gateways (names, @GROUP or @all), and the number of the generation [default of the number:
    /// the one that was current before]
    #[arg(value_names = ["NAME|@GROUP", "N"], num_args = 1.., required = true,
        add = ArgValueCandidates::new(candidates::selectors))]
    target: Vec<Selector>,
    #[command(flatten)]
    why: Why,
}

#[derive(clap::Args)]
#[command(override_usage = "farmgate pin [OPTIONS] <NAME|@GROUP>... [N]")]
pub(super) struct Pin {
    /// Gateways (names, @GROUP or @all), and the number of the generation [default of the number:
    /// the current one]
    #[arg(value_names = ["NAME|@GROUP", "N"], num_args = 1.., required = true,
        add = ArgValueCandidates::new(candidates::selectors))]
    target: Vec<Selector>,
    #[command(flatten)]
    why: Why,
}

#[derive(clap::Args)]
pub(super) struct Release {
    #[command(flatten)]
    gateways: Gateways,
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
        let (by, (selectors, number)) = (self.why.by(), with_number(self.target));
        choose(context, &selectors, |state, record| {
            store::fetch(state, record, number)?;
            let Served { generation, pinned } =
                publish::rollback(state, record, number, &by, now())?;
            Ok((generation, pinned, " again"))
        })
    }
}

impl Pin {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let (by, (selectors, number)) = (self.why.by(), with_number(self.target));
        choose(context, &selectors, |state, record| {
            store::fetch(state, record, number)?;
            let Served { generation, .. } = publish::pin(state, record, number, &by, now())?;
            Ok((generation, None, ", whatever comes, until the pin is released"))
        })
    }
}

impl Release {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let by = self.why.by();
        choose(context, &self.gateways.selectors, |state, record| {
            let Served { generation, .. } = publish::release(state, record, &by, now())?;
            Ok((generation, None, ", if it works"))
        })
    }
}

/// Splits `NAME... [N]`. A last word of digits is the number, unless it is the only word: a gateway
/// can be called `7`.
fn with_number(mut words: Vec<Selector>) -> (Vec<Selector>, Option<u64>) {
    let number = match &words[..] {
        [_, .., Selector::Name(last)] => last.as_str().parse().ok(),
        _ => None,
    };
    if number.is_some() {
        words.pop();
    }
    (words, number)
}

fn choose(
    context: &Context,
    selectors: &[Selector],
    mut choose: impl FnMut(&State, &Record) -> Result<(u64, Option<u64>, &'static str)>,
) -> Result<()> {
    let state = context.state()?;
    Selected::new(&state, selectors)?.each(context, |name| {
        let record = state.gateways().load(name)?;
        let (generation, pinned, how) = choose(&state, &record)?;
        Ok(Chosen { gateway: record.name, generation, pinned, how })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_last_and_not_alone() {
        let split = |words: &[&str]| {
            let (names, number) = with_number(words.iter().map(|w| w.parse().unwrap()).collect());
            (names.len(), number)
        };
        assert_eq!(split(&["lab-1"]), (1, None));
        assert_eq!(split(&["lab-1", "3"]), (1, Some(3)));
        assert_eq!(split(&["@debian", "lab-2", "12"]), (2, Some(12)));
        assert_eq!(split(&["7"]), (1, None));
        assert_eq!(split(&["7", "3"]), (1, Some(3)));
        assert_eq!(split(&["lab-1", "@7"]), (2, None));
    }
}
