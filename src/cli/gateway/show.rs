//! `farmgate gateway show`, `list` and `set`.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use anyhow::ensure;
use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use serde::Serialize;
use time::OffsetDateTime;

use crate::cli::author::Why;
use crate::cli::candidates;
use crate::cli::context::Context;
use crate::cli::context::now;
use crate::cli::damage::Damage;
use crate::cli::selector::Gateways;
use crate::cli::selector::Selected;
use crate::fleet::Act;
use crate::fleet::Assessment;
use crate::fleet::CertificateState;
use crate::fleet::GroupName;
use crate::fleet::Label;
use crate::fleet::LabelName;
use crate::fleet::MAX_LABELS;
use crate::fleet::OwnedCertificate;
use crate::fleet::Record;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;
use crate::identity::Serial;
use crate::store::State;
use crate::store::acts::Acts;
use crate::store::generations::Generations;
use crate::store::generations::Readable;

/// `farmgate gateway show`.
#[derive(Args)]
pub(in crate::cli) struct Show {
    #[command(flatten)]
    gateways: Gateways,
}

impl Show {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let mut damage = Damage::default();
        Selected::new(&state, &self.gateways.selectors)?.each(context, |name| {
            ShownGateway::read(&state, state.gateways().load(name)?, &mut damage)
        })?;
        damage.result()
    }
}

/// `farmgate gateway set`.
#[derive(Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub(in crate::cli) struct Set {
    #[command(flatten)]
    gateways: Gateways,
    /// "none" if its system never acknowledges a boot, else "default"
    #[arg(long, value_name = "HOW", group = "change")]
    assessment: Option<Assessment>,
    /// Group that the gateway belongs to; it leaves the one it was in
    #[arg(long, value_name = "GROUP", group = "change", conflicts_with = "no_group",
        add = ArgValueCandidates::new(candidates::groups))]
    group: Option<GroupName>,
    /// Take the gateway out of its group
    #[arg(long, group = "change")]
    no_group: bool,
    /// Give the gateway this label; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE", group = "change")]
    labels: Vec<Label>,
    /// Remove this label; may be repeated
    #[arg(long = "no-label", value_name = "NAME", group = "change")]
    no_labels: Vec<LabelName>,
    #[command(flatten)]
    why: Why,
}

impl Set {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let mut damage = Damage::default();
        Selected::new(&state, &self.gateways.selectors)?.each(context, |name| {
            let lock = state.lock()?;
            let before = state.gateways().load(name)?;
            let mut record = before.clone();
            self.change(&mut record)?;
            state.gateways().save(&lock, &record)?;
            if let Some(act) = Act::of_change(&before, &record, &self.why.by(), now()) {
                Acts::new(&state).note(&act);
            }
            drop(lock);
            ShownGateway::read(&state, record, &mut damage)
        })?;
        damage.result()
    }

    fn change(&self, record: &mut Record) -> Result<()> {
        if let Some(assessment) = self.assessment {
            record.assessment = assessment;
        }
        if self.no_group || self.group.is_some() {
            record.group = self.group.clone();
        }
        for name in &self.no_labels {
            record.labels.remove(name);
        }
        let labels = self.labels.iter().map(|label| (label.name.clone(), label.value.clone()));
        record.labels.extend(labels);
        ensure!(
            record.labels.len() <= MAX_LABELS,
            "gateway {} would have {} labels, and can have {MAX_LABELS}",
            record.name,
            record.labels.len()
        );
        Ok(())
    }
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
    group: Option<GroupName>,
    labels: BTreeMap<LabelName, String>,
    certificates: Vec<ShownCertificate>,
    /// Errors of its unreadable parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct ShownCertificate {
    fingerprint: Fingerprint,
    serial: Serial,
    state: CertificateState,
    #[serde(with = "time::serde::rfc3339")]
    not_after: OffsetDateTime,
    key_kept_here: bool,
}

impl ShownGateway {
    fn read(state: &State, record: Record, damage: &mut Damage) -> Result<Self> {
        let Readable { history, damaged } = Generations::new(state).readable(&record.id)?;
        let wrong: Vec<_> = damaged.iter().map(|error| damage.note(&record.name, error)).collect();
        let gateways = state.gateways();
        let certificate = |owned: OwnedCertificate| ShownCertificate {
            key_kept_here: gateways.has_key(&record.name, &owned.fingerprint),
            fingerprint: owned.fingerprint,
            serial: owned.serial,
            state: owned.state,
            not_after: owned.not_after,
        };
        Ok(Self {
            certificates: record.certificates.iter().cloned().map(certificate).collect(),
            added: record.added,
            assessment: record.assessment,
            group: record.group,
            labels: record.labels,
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
        if let Some(group) = &self.group {
            write!(f, "\n  group       {group}")?;
        }
        for (name, value) in &self.labels {
            write!(f, "\n  label       {name}={value}")?;
        }
        for ShownCertificate { fingerprint, state, not_after, key_kept_here, .. } in
            &self.certificates
        {
            let key = if *key_kept_here { ", key kept here" } else { "" };
            write!(f, "\n  {state:<10}  {fingerprint}  until {}{key}", not_after.date())?;
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
        write!(
            f,
            "{:<24} {:>10}  {:<10}  {:<8}  GROUP",
            "GATEWAY", "GENERATION", "CERT UNTIL", "STATE"
        )?;
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
                |last| (last.not_after.date().to_string(), last.state.to_string()),
            );
            write!(
                f,
                "\n{:<24} {generation:>10}  {until:<10}  {state:<8}  {}",
                shown.gateway.as_str(),
                shown.group.as_ref().map_or("-", GroupName::as_str)
            )?;
            if let Some(error) = &shown.error {
                write!(f, "\n{:<24} {error}", "")?;
            }
        }
        Ok(())
    }
}
