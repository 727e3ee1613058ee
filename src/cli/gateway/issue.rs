//! `farmgate gateway add` and `renew`.

use std::fmt;

use anyhow::Result;
use anyhow::ensure;
use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use serde::Serialize;

use super::certificate::Given;
use super::certificate::Source;
use crate::cli::author::Why;
use crate::cli::candidates;
use crate::cli::context::Context;
use crate::cli::context::now;
use crate::cli::context::one_gateway;
use crate::cli::selector::Gateways;
use crate::cli::selector::Selected;
use crate::fleet::Act;
use crate::fleet::GroupName;
use crate::fleet::Label;
use crate::fleet::Record;
use crate::fleet::What;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;
use crate::store::State;
use crate::store::acts::Acts;

/// `farmgate gateway add`.
#[derive(Args)]
pub(in crate::cli) struct Add {
    /// Name of the gateway
    #[arg(value_name = "NAME", value_parser = one_gateway)]
    name: GatewayName,
    #[command(flatten)]
    source: Source,
    /// Leave an existing gateway as it is; with --cert, make sure that it has this certificate
    #[arg(long, conflicts_with = "csr")]
    if_missing: bool,
    /// Group that the new gateway belongs to
    #[arg(long, value_name = "GROUP", add = ArgValueCandidates::new(candidates::groups))]
    group: Option<GroupName>,
    /// Label of the new gateway; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<Label>,
    #[command(flatten)]
    why: Why,
}

impl Add {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let (gateways, name) = (state.gateways(), self.name);
        let source = self.source.read()?;
        let lock = state.lock()?;
        if self.if_missing && gateways.names()?.contains(&name) {
            let record = gateways.load(&name)?;
            if source.is_known(&record)? {
                return context.print(&Issued::new(&record, "unchanged"));
            }
            let (pem, key) = source.certificate(&state, &name)?;
            let record = gateways.renew(&lock, &name, &pem, key.as_deref())?;
            note(&state, &self.why, source.renewal(), &record, &source);
            return context.print(&Issued::new(&record, "renewed"));
        }
        // Checked before a key is made for nothing.
        gateways.ensure_free(&name)?;
        let (pem, key) = source.certificate(&state, &name)?;
        let mut record = gateways.add(&lock, &name, &pem, key.as_deref(), now())?;
        note(&state, &self.why, What::GatewayAdded, &record, &source);
        if self.group.is_some() || !self.labels.is_empty() {
            record.group = self.group;
            record.labels =
                self.labels.into_iter().map(|label| (label.name, label.value)).collect();
            gateways.save(&lock, &record)?;
        }
        context.print(&Issued::new(&record, "added"))
    }
}

/// `farmgate gateway renew`.
#[derive(Args)]
pub(in crate::cli) struct Renew {
    #[command(flatten)]
    gateways: Gateways,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    why: Why,
}

impl Renew {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let gateways = state.gateways();
        let source = self.source.read()?;
        let selected = Selected::new(&state, &self.gateways.selectors)?;
        ensure!(
            selected.names.len() == 1 || !source.is_file(),
            "--cert and --csr are for one gateway, and these are {}",
            selected.names.len()
        );
        selected.each(context, |name| {
            let lock = state.lock()?;
            gateways.load(name)?;
            let (pem, key) = source.certificate(&state, name)?;
            let record = gateways.renew(&lock, name, &pem, key.as_deref())?;
            note(&state, &self.why, source.renewal(), &record, &source);
            Ok(Issued::new(&record, "renewed"))
        })
    }
}

/// Writes down that the gateway got its active certificate.
fn note(state: &State, why: &Why, what: What, record: &Record, source: &Given) {
    let active = record.active().map(|active| active.fingerprint);
    let act = Act::new(what, Some(&why.by()), now()).of(record).with_certificates(active);
    Acts::new(state).note(&act.with_detail(source.how()));
}

#[derive(Serialize)]
struct Issued {
    gateway: GatewayName,
    done: &'static str,
    fingerprint: Option<Fingerprint>,
}

impl Issued {
    fn new(record: &Record, done: &'static str) -> Self {
        let fingerprint = record.active().map(|active| active.fingerprint);
        Self { gateway: record.name.clone(), done, fingerprint }
    }
}

impl fmt::Display for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.done, self.gateway)?;
        self.fingerprint.map_or(Ok(()), |fingerprint| write!(f, "\n{fingerprint}"))
    }
}
