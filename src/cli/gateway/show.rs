//! `farmgate gateway show`, `list` and `set`.

use std::fmt;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use time::OffsetDateTime;

use crate::cli::context::Context;
use crate::cli::context::Gateway;
use crate::cli::damage::Damage;
use crate::fleet::Assessment;
use crate::fleet::OwnedCertificate;
use crate::fleet::Record;
use crate::identity::GatewayName;
use crate::store::State;
use crate::store::generations::Generations;
use crate::store::generations::Readable;

/// `farmgate gateway show`.
#[derive(Args)]
pub(in crate::cli) struct Show {
    #[command(flatten)]
    gateway: Gateway,
}

impl Show {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        show(context, &state, state.gateways().load(&self.gateway.name)?)
    }
}

/// `farmgate gateway set`.
#[derive(Args)]
pub(in crate::cli) struct Set {
    #[command(flatten)]
    gateway: Gateway,
    /// "none" if its system never acknowledges a boot, else "default"
    #[arg(long, value_name = "HOW")]
    assessment: Assessment,
}

impl Set {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let lock = state.lock()?;
        let mut record = state.gateways().load(&self.gateway.name)?;
        record.assessment = self.assessment;
        state.gateways().save(&lock, &record)?;
        drop(lock);
        show(context, &state, record)
    }
}

fn show(context: &Context, state: &State, record: Record) -> Result<()> {
    let mut damage = Damage::default();
    context.print(&ShownGateway::read(state, record, &mut damage)?)?;
    damage.result()
}

/// `farmgate gateway list`.
#[derive(Args)]
pub(in crate::cli) struct List {}

impl List {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let (state, mut damage) = (context.state()?, Damage::default());
        let gateways = state.gateways();
        let mut rows = Vec::new();
        for name in gateways.names()? {
            let record = gateways.load(&name);
            let shown = record.and_then(|record| ShownGateway::read(&state, record, &mut damage));
            rows.push(shown.map_or_else(
                |error| ListedGateway::Damaged { error: damage.note(&name, &error), gateway: name },
                ListedGateway::Shown,
            ));
        }
        context.print(&GatewayList(rows))?;
        damage.result()
    }
}

#[derive(Serialize)]
struct ShownGateway {
    gateway: GatewayName,
    #[serde(with = "time::serde::rfc3339")]
    added: OffsetDateTime,
    generation: Option<u64>,
    assessment: Assessment,
    certificates: Vec<ShownCertificate>,
    /// Errors of its unreadable parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct ShownCertificate {
    #[serde(flatten)]
    owned: OwnedCertificate,
    key_kept_here: bool,
}

impl ShownGateway {
    fn read(state: &State, record: Record, damage: &mut Damage) -> Result<Self> {
        let Readable { history, damaged } = Generations::new(state).readable(&record.id)?;
        let wrong: Vec<_> = damaged.iter().map(|error| damage.note(&record.name, error)).collect();
        let gateways = state.gateways();
        let certificate = |owned: OwnedCertificate| ShownCertificate {
            key_kept_here: gateways.has_key(&record.name, &owned.fingerprint),
            owned,
        };
        Ok(Self {
            certificates: record.certificates.iter().cloned().map(certificate).collect(),
            added: record.added,
            assessment: record.assessment,
            generation: history.current().map(|generation| generation.number),
            error: (!wrong.is_empty()).then(|| wrong.join("; ")),
            gateway: record.name,
        })
    }
}

impl fmt::Display for ShownGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generation = self.generation.map_or("none".to_owned(), |number| number.to_string());
        write!(f, "{}\n  added       {}", self.gateway, self.added.date())?;
        write!(f, "\n  generation  {generation}")?;
        if self.assessment == Assessment::None {
            write!(f, ", not assessed")?;
        }
        for ShownCertificate { owned, key_kept_here } in &self.certificates {
            let key = if *key_kept_here { ", key kept here" } else { "" };
            let (state, until) = (owned.state, owned.not_after.date());
            write!(f, "\n  {state:<10}  {}  until {until}{key}", owned.fingerprint)?;
        }
        self.error.as_ref().map_or(Ok(()), |error| write!(f, "\n  {error}"))
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct GatewayList(Vec<ListedGateway>);

/// A gateway in the list.
#[derive(Serialize)]
#[serde(untagged)]
enum ListedGateway {
    Shown(ShownGateway),
    /// The record cannot be read.
    Damaged {
        gateway: GatewayName,
        error: String,
    },
}

impl fmt::Display for GatewayList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return write!(f, "no gateways yet; `farmgate gateway add NAME` makes one");
        }
        write!(f, "{:<24} {:>10}  {:<10}  {:<10}", "GATEWAY", "GENERATION", "CERT UNTIL", "STATE")?;
        for listed in &self.0 {
            let shown = match listed {
                ListedGateway::Shown(shown) => shown,
                ListedGateway::Damaged { gateway, error } => {
                    write!(f, "\n{:<24} {error}", gateway.as_str())?;
                    continue;
                }
            };
            let generation = shown.generation.map_or("-".to_owned(), |number| number.to_string());
            let (until, state) = shown.certificates.last().map_or_else(
                || ("-".to_owned(), "-".to_owned()),
                |last| (last.owned.not_after.date().to_string(), last.owned.state.to_string()),
            );
            write!(
                f,
                "\n{:<24} {generation:>10}  {until:<10}  {state:<10}",
                shown.gateway.as_str()
            )?;
            if let Some(error) = &shown.error {
                write!(f, "\n{:<24} {error}", "")?;
            }
        }
        Ok(())
    }
}
