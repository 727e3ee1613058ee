//! `farmgate publish`: one gateway at once, or many in waves.

use std::path::Path;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use clap::error::ErrorKind;
use clap_complete::engine::ArgValueCandidates;
use clap_complete::engine::ArgValueCompleter;
use serde::Serialize;

use super::author::Why;
use super::candidates;
use super::context::Context;
use super::context::now;
use super::damage::Damage;
use super::follow::follow;
use super::generations::held_back;
use super::rollout;
use super::selector::Done;
use super::selector::ParseSelectorError;
use super::selector::Selected;
use super::selector::Selector;
use super::wrong_usage;
use crate::config::Period;
use crate::fleet::ALL;
use crate::fleet::Assignment;
use crate::fleet::EventId;
use crate::fleet::Record;
use crate::fleet::Variables;
use crate::fleet::rollout::Rules;
use crate::fleet::rollout::Share;
use crate::identity::GatewayName;
use crate::publish;
use crate::publish::Folder;
use crate::publish::Outcome;
use crate::publish::When;
use crate::store::State;
use crate::store::generations::Generations;

#[derive(clap::Args)]
#[command(override_usage = "farmgate publish [OPTIONS] <NAME|@GROUP>... <DIR>
       farmgate publish [OPTIONS] --canary <NAME|@GROUP,...> --then <all|NAME|@GROUP,...>... <DIR>")]
pub(super) struct Publish {
    /// Gateways (names, @GROUP or @all; not with --canary), and a folder with boot.ipxe or gateway.toml
    /// and the files that it names
    #[arg(value_names = ["NAME|@GROUP", "DIR"], num_args = 1.., required = true,
        add = ArgValueCompleter::new(candidates::selectors_and_folders))]
    target: Vec<String>,
    /// Publish even if the gateway gets these files already: they are tried again
    #[arg(long, conflicts_with_all = ["canary", "if_changed"])]
    force: bool,
    /// Also do nothing if the newest generation has these files and another one is served
    #[arg(long, conflicts_with = "canary")]
    if_changed: bool,
    /// A variable for its boot script, which finds it in iPXE's setting NAME; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE")]
    variables: Vec<Assignment>,
    /// Roll out to these gateways first, and go on when all of them have acknowledged
    #[arg(long, value_name = "NAME|@GROUP,...", value_delimiter = ',', requires = "then",
        add = ArgValueCandidates::new(candidates::selectors))]
    canary: Vec<Selector>,
    /// The next wave: "all" for all remaining gateways, or NAME,...; @GROUP means those of the
    /// group that are in no earlier wave; may be repeated
    #[arg(long, value_name = "all|NAME|@GROUP,...", requires = "canary")]
    then: Vec<Wave>,
    /// The share of a wave that must have acknowledged: a machine that is switched off does not
    /// hold up the next one [default: 100%]
    #[arg(long, value_name = "N%", requires = "canary")]
    wait_for: Option<Share>,
    /// Stop the rollout when a wave takes longer than this (90m, 2d); without --canary, the longest
    /// wait of --follow
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Period>,
    /// Show the boots until every gateway has acknowledged; fails if one does not
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    why: Why,
}

#[derive(Clone)]
struct Wave(Vec<Selector>);

impl std::str::FromStr for Wave {
    type Err = ParseSelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == ALL {
            return Ok(Self(vec![Selector::All]));
        }
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

#[derive(Serialize)]
struct Published {
    gateway: GatewayName,
    generation: u64,
    changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pinned: Option<u64>,
}

impl std::fmt::Display for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pinned {
            _ if !self.changed => {
                write!(
                    f,
                    "unchanged: generation {} of {} has these files already \
                     (`--force` publishes them again)",
                    self.generation, self.gateway
                )
            }
            Some(pinned) => held_back(f, &self.gateway, self.generation, pinned),
            None => write!(f, "{} now gets generation {}", self.gateway, self.generation),
        }
    }
}

#[derive(Serialize)]
struct Begun {
    rollout: EventId,
    waves: Vec<Vec<GatewayName>>,
}

impl std::fmt::Display for Begun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rollout {} in {} waves", self.rollout.short(), self.waves.len())?;
        for (number, wave) in self.waves.iter().enumerate() {
            let names = wave.iter().map(GatewayName::as_str).collect::<Vec<_>>().join(" ");
            write!(f, "\n  {}: {names}", number + 1)?;
        }
        write!(
            f,
            "\nthe server goes on when a wave has acknowledged; `farmgate rollout show --watch` follows it"
        )
    }
}

impl Publish {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        match (&self.target[..], self.canary.is_empty()) {
            ([names @ .., dir], true) if !names.is_empty() => {
                let selectors =
                    names.iter().map(|name| name.parse()).collect::<Result<Vec<_>, _>>();
                let selectors = selectors.unwrap_or_else(|error| {
                    wrong_usage(&["publish"], ErrorKind::ValueValidation, &error)
                });
                let when = match (self.force, self.if_changed) {
                    (true, _) => When::Always,
                    (false, true) => When::Changed,
                    (false, false) => When::NotLive,
                };
                self.at_once(context, &selectors, Path::new(dir), when)
            }
            ([dir], false) => self.waves(context, Path::new(dir)),
            (_, true) => wrong_usage(
                &["publish"],
                ErrorKind::MissingRequiredArgument,
                &"NAME and DIR are needed, or --canary with DIR",
            ),
            (_, false) => wrong_usage(
                &["publish"],
                ErrorKind::TooManyValues,
                &"with --canary, DIR alone is needed",
            ),
        }
    }

    fn folder(&self, dir: &Path) -> Result<Folder> {
        let mut variables = Variables::new();
        for Assignment { name, value } in &self.variables {
            let twice = variables.insert(name.clone(), value.clone()).is_some();
            ensure!(!twice, "the variable {name} is given twice");
        }
        Ok(Folder::open(dir)?.with_variables(variables))
    }

    fn at_once(
        &self,
        context: &Context,
        selectors: &[Selector],
        dir: &Path,
        when: When,
    ) -> Result<()> {
        let state = context.state()?;
        let selected = Selected::new(&state, selectors)?;
        let load = |name: &GatewayName| (name.clone(), state.gateways().load(name));
        let mut loaded: Vec<_> = selected.names.iter().map(load).collect();
        if let Some((_, Err(error))) =
            loaded.pop_if(|(_, record)| selected.is_one && record.is_err())
        {
            return Err(error);
        }
        let folder = self.folder(dir)?;
        let by = self.why.by();
        let progress = context.progress(folder.size(), "storing");
        let records: Vec<_> =
            loaded.iter().filter_map(|(_, record)| record.as_ref().ok()).collect();
        let outcomes =
            publish::publish_to_each(&state, &records, &folder, when, &by, now(), &|bytes| {
                progress.inc(bytes);
            })?;
        progress.finish_and_clear();
        // The findings are those of the folder, so all gateways have the same.
        if let Some(outcome) = outcomes.iter().find_map(|outcome| outcome.as_ref().ok()) {
            context.warn(&outcome.warnings);
        }
        let served: Vec<_> = records
            .iter()
            .zip(&outcomes)
            .filter_map(|(record, outcome)| {
                Some(((*record).clone(), outcome.as_ref().ok()?.generation))
            })
            .collect();
        let mut outcomes = outcomes.into_iter();
        let mut results = loaded.into_iter().map(|(name, record)| {
            let published = record.and_then(|_| {
                let outcome = outcomes.next().context("an outcome is missing")??;
                let Outcome { generation, changed, pinned, .. } = outcome;
                Ok(Published { gateway: name.clone(), generation, changed, pinned })
            });
            (name, published)
        });
        if selected.is_one
            && let Some((_, published)) = results.next()
        {
            context.print(&published?)?;
            return self.follow(context, &state, &served);
        }
        let mut done = Done::new(context, selected.names.len());
        for (name, published) in results {
            done.note(&name, published)?;
        }
        let followed = self.follow(context, &state, &served);
        done.finish(selected.unknown)?;
        followed
    }

    fn follow(&self, context: &Context, state: &State, served: &[(Record, u64)]) -> Result<()> {
        match self.follow {
            true => follow(context, state, served, self.timeout.map(Period::get)),
            false => Ok(()),
        }
    }

    fn waves(&self, context: &Context, dir: &Path) -> Result<()> {
        let state = context.state()?;
        let mut damage = Damage::default();
        let mut waves: Vec<Vec<Record>> = Vec::new();
        let then = self.then.iter().map(|Wave(selectors)| &selectors[..]);
        for selectors in [&self.canary[..]].into_iter().chain(then) {
            let wave = wave(&state, selectors, &waves, &mut damage)?;
            waves.push(wave);
        }
        let folder = self.folder(dir)?;
        let progress = context.progress(folder.size(), "storing");
        let rules = Rules {
            wait_for: self.wait_for.unwrap_or_default(),
            timeout: self.timeout.map(Period::get),
        };
        let (by, stored) = (self.why.by(), |bytes| progress.inc(bytes));
        let (rollout, warnings) =
            publish::rollout::begin(&state, &waves, rules, &folder, &by, now(), &stored)?;
        progress.finish_and_clear();
        context.warn(&warnings);
        let names = |wave: &Vec<Record>| wave.iter().map(|record| record.name.clone()).collect();
        context.print(&Begun { rollout, waves: waves.iter().map(names).collect() })?;
        damage.result().context("the rollout goes on without some gateways")?;
        if self.follow { rollout::watch(context, &state, rollout) } else { Ok(()) }
    }
}

/// The gateways of a wave. Those that a group brings are left out if they are in an earlier wave
/// or cannot be read; those that are named must be sound.
fn wave(
    state: &State,
    selectors: &[Selector],
    earlier: &[Vec<Record>],
    damage: &mut Damage,
) -> Result<Vec<Record>> {
    let named = |name: &GatewayName| selectors.contains(&Selector::Name(name.clone()));
    let taken = |name: &GatewayName| earlier.iter().flatten().any(|r| r.name == *name);
    let Selected { names, unknown, .. } = Selected::new(state, selectors)?;
    for (name, error) in unknown {
        damage.note(&name, &error);
    }
    let mut wave = Vec::with_capacity(names.len());
    for name in names {
        if named(&name) {
            wave.push(state.gateways().load(&name)?);
        } else if !taken(&name) {
            wave.extend(sound(state, &name, damage));
        }
    }
    Ok(wave)
}

/// The gateway `name`, if its record and its history can be read. An error does not stop the
/// others.
fn sound(state: &State, name: &GatewayName, damage: &mut Damage) -> Option<Record> {
    let record = state.gateways().load(name);
    let sound = record.and_then(|record| {
        Generations::new(state).history(&record.id)?;
        Ok(record)
    });
    sound.inspect_err(|error| drop(damage.note(name, error))).ok()
}
