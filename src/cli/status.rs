//! `farmgate status`.

mod fleet;

use std::collections::BTreeMap;

use anyhow::Result;
use clap_complete::engine::ArgValueCandidates;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use self::fleet::FleetStatus;
use self::fleet::Sort;
use self::fleet::Trouble;
use super::candidates;
use super::context::Context;
use super::context::now;
use super::damage::Damage;
use super::selector::Selected;
use super::selector::Selector;
use super::sync;
use super::table::Screen;
use super::terminal;
use crate::bucket::Condition;
use crate::fleet::EventId;
use crate::fleet::GroupName;
use crate::fleet::LabelName;
use crate::fleet::Reason;
use crate::fleet::Record;
use crate::fleet::decide;
use crate::identity::GatewayName;
use crate::store::State;
use crate::store::consoles::Consoles;
use crate::store::generations::Generations;
use crate::store::generations::Readable;
use crate::store::journal::Entry;
use crate::store::journal::Journals;
use crate::store::journal::Stage;

/// Boots that `status NAME` shows.
const SHOWN_BOOTS: usize = 10;

/// Lines of a failed boot's console that it shows; `--json` has all that were kept.
const SHOWN_LINES: usize = 20;

#[derive(clap::Args)]
pub(super) struct Status {
    /// Only these gateways (names, @GROUP or @all); one that is named alone with its latest boots
    #[arg(value_name = "NAME|@GROUP", add = ArgValueCandidates::new(candidates::selectors))]
    selectors: Vec<Selector>,
    /// Only gateways that an operator should look at
    #[arg(long)]
    failed: bool,
    /// Only gateways of this group
    #[arg(long, value_name = "GROUP", add = ArgValueCandidates::new(candidates::groups))]
    group: Option<GroupName>,
    /// Order of the gateways
    #[arg(long, value_name = "ORDER", value_enum)]
    sort: Option<Sort>,
    /// Show the git repository that describes the fleet in place of the gateways: what is in force,
    /// and how the last look at it ended
    #[arg(long, conflicts_with_all = ["selectors", "failed", "group", "sort"])]
    sync: bool,
}

impl Status {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        if self.sync {
            return sync::show(context, &state);
        }
        let now = now();
        let mut damage = Damage::default();
        let is_list = self.failed || self.group.is_some() || self.sort.is_some();
        if let ([Selector::Name(name)], false) = (&self.selectors[..], is_list) {
            let record = state.gateways().load(name)?;
            context.print(&GatewayStatus::read(&state, record, now, &mut damage)?)?;
            return damage.result();
        }
        let mut rows = Vec::new();
        for name in self.names(&state, &mut damage)? {
            let record = state.gateways().load(&name);
            let row = record.and_then(|record| StatusRow::read(&state, &record, now, &mut damage));
            rows.push(row.unwrap_or_else(|error| {
                let error = Some(damage.note(&name, &error));
                let trouble = Some(Trouble::Unreadable);
                StatusRow { error, trouble, ..StatusRow::unknown(name) }
            }));
        }
        if self.failed {
            rows.retain(|row| row.trouble.is_some());
        }
        if let Some(sort) = self.sort {
            sort.apply(&mut rows);
        }
        let is_part = is_list || !self.selectors.is_empty();
        let screen = Screen { width: terminal::width(), colours: terminal::colours() };
        context.print_coloured(&FleetStatus {
            rows,
            is_part,
            is_failed: self.failed,
            screen,
            now,
        })?;
        if !is_part {
            sync::print_status(context, &state)?;
        }
        damage.result()
    }

    fn names(&self, state: &State, damage: &mut Damage) -> Result<Vec<GatewayName>> {
        let mut select = |selectors: &[Selector]| -> Result<Vec<GatewayName>> {
            let selected = Selected::new(state, selectors)?;
            for (name, error) in &selected.unknown {
                damage.note(name, error);
            }
            Ok(selected.names)
        };
        let mut names = match &self.selectors[..] {
            [] => state.gateways().names()?,
            selectors => select(selectors)?,
        };
        if let Some(group) = &self.group {
            let members = select(&[Selector::Group(group.clone())])?;
            names.retain(|name| members.contains(name));
        }
        Ok(names)
    }
}

/// One gateway in a line.
#[derive(Serialize)]
struct StatusRow {
    gateway: GatewayName,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<GroupName>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<LabelName, String>,
    /// The generation that the next boot gets.
    generation: Option<u64>,
    /// The reason for that generation.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    /// The time when that generation was published.
    #[serde(with = "time::serde::rfc3339::option")]
    since: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    last_boot: Option<OffsetDateTime>,
    /// Stage that the last boot reached.
    stage: Option<String>,
    acknowledged: Option<bool>,
    /// End of the certificate that new media get.
    #[serde(with = "time::serde::rfc3339::option")]
    not_after: Option<OffsetDateTime>,
    /// All its certificates are revoked: its media never boot again.
    revoked: bool,
    /// Condition of its bucket, if gateways have buckets.
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket: Option<Condition>,
    /// Errors of its unreadable parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The reason to look at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<Trouble>,
}

impl StatusRow {
    /// A gateway whose files cannot be read.
    fn unknown(gateway: GatewayName) -> Self {
        Self {
            gateway,
            group: None,
            labels: BTreeMap::new(),
            generation: None,
            reason: None,
            since: None,
            last_boot: None,
            stage: None,
            acknowledged: None,
            not_after: None,
            revoked: false,
            bucket: None,
            error: None,
            trouble: None,
        }
    }

    fn read(
        state: &State,
        record: &Record,
        now: OffsetDateTime,
        damage: &mut Damage,
    ) -> Result<Self> {
        let Readable { history, damaged } = Generations::new(state).readable(&record.id)?;
        let mut wrong: Vec<_> =
            damaged.iter().map(|error| damage.note(&record.name, error)).collect();
        let next = decide(&history, record.policy(state.config().assessment.tries));
        let last = history.boots().last_key_value();
        let journal = Journals::new(state).read(&record.id).unwrap_or_else(|error| {
            wrong.push(damage.note(&record.name, &error));
            Vec::new()
        });
        let stage = last.and_then(|(boot, _)| {
            journal
                .iter()
                .rev()
                .find(|entry| entry.boot == Some(*boot))
                .map(|entry| short(&entry.stage))
        });
        let mut row = Self {
            gateway: record.name.clone(),
            group: record.group.clone(),
            labels: record.labels.clone(),
            generation: next.as_ref().map(|next| next.generation.number),
            since: next.as_ref().map(|next| next.generation.published),
            reason: next.map(|next| next.reason),
            last_boot: last.map(|(_, boot)| boot.at),
            stage,
            acknowledged: last.map(|(_, boot)| boot.acknowledged),
            not_after: record.active().map(|active| active.not_after),
            revoked: record.is_revoked(),
            bucket: Condition::of(state, record),
            error: (!wrong.is_empty()).then(|| wrong.join("; ")),
            trouble: None,
        };
        row.trouble = Trouble::of(&row, now);
        Ok(row)
    }
}

/// A stage in a few words.
pub(super) fn short(stage: &Stage) -> String {
    match stage {
        Stage::Boot { .. } => "boot".to_owned(),
        Stage::File { path, size, bytes, .. } if bytes < size => {
            format!("{path} ({} %)", bytes * 100 / size)
        }
        Stage::File { path, .. } | Stage::FileByNginx { path, .. } => path.to_string(),
        Stage::Secrets => "secrets".to_owned(),
        Stage::Acknowledged => "acknowledged".to_owned(),
        Stage::Report { report, .. } => report.to_string(),
        Stage::Error { error } => error.to_string(),
    }
}

fn moment(at: OffsetDateTime) -> String {
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}

/// One gateway with its latest boots.
#[derive(Serialize)]
struct GatewayStatus {
    #[serde(flatten)]
    row: StatusRow,
    boots: Vec<Boot>,
    /// Entries that belong to no boot, for example refusals.
    other: Vec<Entry>,
}

#[derive(Serialize)]
struct Boot {
    boot: EventId,
    generation: u64,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    acknowledged: bool,
    stages: Vec<Entry>,
    /// The end of the console of a failed boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    console: Option<String>,
}

impl GatewayStatus {
    fn read(
        state: &State,
        record: Record,
        now: OffsetDateTime,
        damage: &mut Damage,
    ) -> Result<Self> {
        let row = StatusRow::read(state, &record, now, damage)?;
        let history = Generations::new(state).readable(&record.id)?.history;
        // The row contains its errors.
        let journal = Journals::new(state).read(&record.id).unwrap_or_default();
        let consoles = Consoles::new(state).read(&record.id).unwrap_or_default();
        let console = |boot| consoles.iter().rfind(|console| console.boot == boot);
        let latest = history.boots().iter().rev().take(SHOWN_BOOTS);
        let boots = latest.map(|(id, boot)| Boot {
            boot: *id,
            generation: boot.generation,
            at: boot.at,
            acknowledged: boot.acknowledged,
            stages: journal.iter().filter(|entry| entry.boot == Some(*id)).cloned().collect(),
            console: console(*id).map(|console| console.text.clone()),
        });
        let other = journal.iter().filter(|entry| entry.boot.is_none()).rev().take(SHOWN_BOOTS);
        Ok(Self { row, boots: boots.collect(), other: other.cloned().collect() })
    }
}

impl std::fmt::Display for GatewayStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let row = &self.row;
        write!(f, "{}", row.gateway)?;
        if let Some(group) = &row.group {
            write!(f, "\n  in group {group}")?;
        }
        for (name, value) in &row.labels {
            write!(f, "\n  label {name}={value}")?;
        }
        match (row.generation, row.reason) {
            (Some(generation), Some(reason)) => {
                write!(f, "\n  the next boot gets generation {generation}: {reason}")?;
            }
            _ => write!(f, "\n  nothing is published")?,
        }
        match row.not_after {
            Some(until) => write!(f, "\n  certificate valid until {}", until.date())?,
            None if row.revoked => write!(
                f,
                "\n  REVOKED: no medium of it boots; `farmgate gateway renew {}` gives it a new \
                 certificate, for a new medium",
                row.gateway
            )?,
            None => write!(f, "\n  no active certificate")?,
        }
        if let Some(bucket) = &row.bucket {
            write!(f, "\n  bucket {bucket}")?;
        }
        if let Some(error) = &row.error {
            write!(f, "\n  {error}")?;
        }
        for boot in &self.boots {
            let word = if boot.acknowledged { "acknowledged" } else { "not acknowledged" };
            write!(f, "\n\n  {}  generation {}, {word}", moment(boot.at), boot.generation)?;
            for entry in &boot.stages {
                write!(f, "\n    {:>8}  {}", since(boot.at, entry.at), long(entry))?;
            }
            let Some(console) = &boot.console else { continue };
            let lines: Vec<_> = console.lines().collect();
            let from = lines.len().saturating_sub(SHOWN_LINES);
            write!(f, "\n    the end of its console:")?;
            for line in &lines[from..] {
                write!(f, "\n      | {line}")?;
            }
        }
        if !self.other.is_empty() {
            write!(f, "\n\n  outside of any boot")?;
        }
        for entry in &self.other {
            write!(f, "\n    {}  {}", moment(entry.at), long(entry))?;
        }
        Ok(())
    }
}

fn since(start: OffsetDateTime, at: OffsetDateTime) -> String {
    format!("+{:.1} s", (at - start).as_seconds_f64().max(0.0))
}

fn long(entry: &Entry) -> String {
    match &entry.stage {
        Stage::Boot { mac, platform, ipxe, .. } => {
            format!("asked what to run, from {}: {mac} {platform} iPXE {ipxe}", entry.address)
        }
        Stage::File { path, size, bytes, millis } => {
            format!("{path}: {bytes} of {size} bytes in {millis} ms")
        }
        Stage::FileByNginx { path, size } => format!("{path}: {size} bytes, sent by nginx"),
        Stage::Secrets => "read its secrets".to_owned(),
        Stage::Acknowledged => "acknowledged".to_owned(),
        Stage::Report { uptime, report } => {
            format!("{report} ({:.1} s after its kernel started)", *uptime as f64 / 1000.0)
        }
        Stage::Error { error } => format!("{error} (from {})", entry.address),
    }
}
