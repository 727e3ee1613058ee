//! `farmgate publish`: one gateway at once, or many in waves.

use std::path::Path;

use anyhow::Context as _;
use anyhow::Result;
use clap::error::ErrorKind;
use serde::Serialize;

use super::author::Why;
use super::context::Context;
use super::context::now;
use super::damage::Damage;
use super::generations::held_back;
use super::wrong_usage;
use crate::fleet::By;
use crate::fleet::EventId;
use crate::fleet::Record;
use crate::identity::GatewayName;
use crate::publish;
use crate::publish::Folder;
use crate::publish::Outcome;
use crate::publish::When;
use crate::store::State;
use crate::store::generations::Generations;

#[derive(clap::Args)]
pub(super) struct Publish {
    /// Name of the gateway (not with --canary), and a folder with boot.ipxe and the
    /// files that it names
    #[arg(value_names = ["NAME", "DIR"], num_args = 1..=2, required = true)]
    target: Vec<String>,
    /// Publish even if the gateway gets these files already: they are tried again
    #[arg(long, conflicts_with_all = ["canary", "if_changed"])]
    force: bool,
    /// Also do nothing if the newest generation has these files and another one is served
    #[arg(long, conflicts_with = "canary")]
    if_changed: bool,
    /// Roll out to these gateways first, and go on when all of them have acknowledged
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', requires = "then")]
    canary: Vec<GatewayName>,
    /// The next wave: "all" for all remaining gateways, or NAME,...; may be repeated
    #[arg(long, value_name = "all|NAME,...", requires = "canary")]
    then: Vec<Wave>,
    #[command(flatten)]
    why: Why,
}

#[derive(Clone)]
enum Wave {
    All,
    Names(Vec<GatewayName>),
}

impl std::str::FromStr for Wave {
    type Err = crate::identity::ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" {
            return Ok(Self::All);
        }
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self::Names)
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
        write!(f, "rollout {} in {} waves", self.rollout, self.waves.len())?;
        for (number, wave) in self.waves.iter().enumerate() {
            let names = wave.iter().map(GatewayName::as_str).collect::<Vec<_>>().join(" ");
            write!(f, "\n  {}: {names}", number + 1)?;
        }
        write!(
            f,
            "\nthe server goes on when a wave has acknowledged; `farmgate rollout list` shows it"
        )
    }
}

impl Publish {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        match (&self.target[..], self.canary.is_empty()) {
            ([name, dir], true) => {
                let name = name
                    .parse()
                    .unwrap_or_else(|error| wrong_usage(ErrorKind::ValueValidation, &error));
                let when = match (self.force, self.if_changed) {
                    (true, _) => When::Always,
                    (false, true) => When::Changed,
                    (false, false) => When::NotLive,
                };
                one(context, &name, Path::new(dir), when, &self.why.by())
            }
            ([dir], false) => self.waves(context, Path::new(dir)),
            (_, true) => wrong_usage(
                ErrorKind::MissingRequiredArgument,
                &"NAME and DIR are needed, or --canary with DIR",
            ),
            (_, false) => {
                wrong_usage(ErrorKind::TooManyValues, &"with --canary, DIR alone is needed")
            }
        }
    }

    fn waves(&self, context: &Context, dir: &Path) -> Result<()> {
        let state = context.state()?;
        let mut waves = vec![load(&state, &self.canary)?];
        let mut damage = Damage::default();
        for wave in &self.then {
            let wave = match wave {
                Wave::Names(names) => load(&state, names)?,
                Wave::All => {
                    let taken =
                        |name: &GatewayName| waves.iter().flatten().any(|r| r.name == *name);
                    let names = state.gateways().names()?;
                    let names = names.into_iter().filter(|name| !taken(name));
                    names.filter_map(|name| sound(&state, &name, &mut damage)).collect()
                }
            };
            waves.push(wave);
        }
        let folder = Folder::open(dir)?;
        let progress = context.progress(folder.size(), "storing");
        let (by, stored) = (self.why.by(), |bytes| progress.inc(bytes));
        let (rollout, warnings) =
            publish::rollout::begin(&state, &waves, &folder, &by, now(), &stored)?;
        progress.finish_and_clear();
        context.warn(&warnings);
        let names = |wave: &Vec<Record>| wave.iter().map(|record| record.name.clone()).collect();
        context.print(&Begun { rollout, waves: waves.iter().map(names).collect() })?;
        damage.result().context("the rollout goes on without some gateways")
    }
}

fn one(context: &Context, name: &GatewayName, dir: &Path, when: When, by: &By) -> Result<()> {
    let state = context.state()?;
    let record = state.gateways().load(name)?;
    let folder = Folder::open(dir)?;
    let progress = context.progress(folder.size(), "storing");
    let stored = |bytes| progress.inc(bytes);
    let outcome = publish::publish(&state, &record, &folder, when, by, now(), &stored)?;
    progress.finish_and_clear();
    context.warn(&outcome.warnings);
    let Outcome { generation, changed, pinned, .. } = outcome;
    context.print(&Published { gateway: record.name, generation, changed, pinned })
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

fn load(state: &State, names: &[GatewayName]) -> Result<Vec<Record>> {
    names.iter().map(|name| state.gateways().load(name)).collect()
}
