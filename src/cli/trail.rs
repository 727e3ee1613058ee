//! `farmgate log`: who did what, when and why.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use clap_complete::engine::ArgValueCandidates;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::candidates;
use super::context::Context;
use super::context::now;
use super::damage::Damage;
use super::selector::Selected;
use super::selector::Selector;
use crate::config::Period;
use crate::fleet::EventId;
use crate::fleet::trail;
use crate::fleet::trail::Line;
use crate::identity::GatewayName;
use crate::store::State;
use crate::store::acts::Acts;
use crate::store::generations::Generations;

#[derive(clap::Args)]
pub(super) struct Log {
    /// Only these gateways: names, also of removed ones, @GROUP for those of a group, @all for all
    #[arg(value_name = "NAME|@GROUP", add = ArgValueCandidates::new(candidates::selectors))]
    selectors: Vec<Selector>,
    /// The latest N lines only; 0 for all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    lines: usize,
    /// Only the last DURATION, such as 12h or 7d
    #[arg(long, value_name = "DURATION")]
    since: Option<Period>,
}

impl Log {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let mut damage = Damage::default();
        let mut lines = match &self.selectors[..] {
            [] => read(&state, None, &mut damage)?,
            selectors => {
                let selected = Selected::new(&state, selectors)?;
                for (name, error) in &selected.unknown {
                    damage.note(name, error);
                }
                read(&state, Some(&selected.names), &mut damage)?
            }
        };
        if let Some(since) = self.since {
            let since = time::Duration::try_from(since.get()).ok();
            // Longer than there are years: that is everything.
            let begin = since.and_then(|since| now().checked_sub(since));
            lines.retain(|_, line| begin.is_none_or(|begin| line.at >= begin));
        }
        let latest = lines.into_values().rev();
        let lines = match self.lines {
            0 => latest.collect(),
            count => latest.take(count).collect(),
        };
        context.print(&Lines(lines))?;
        damage.result()
    }
}

/// All lines, or those of some gateways, oldest first.
fn read(
    state: &State,
    only: Option<&[GatewayName]>,
    damage: &mut Damage,
) -> Result<BTreeMap<EventId, Line>> {
    let acts = Acts::new(state).read()?;
    for error in &acts.damaged {
        damage.note(&"an act", error);
    }
    let acts: BTreeMap<_, _> =
        acts.acts.iter().map(|(id, act)| (*id, trail::of_act(*id, act))).collect();
    let Some(only) = only else {
        let mut lines = acts;
        for name in state.gateways().names()? {
            lines.extend(events(state, &name, damage));
        }
        return Ok(lines);
    };
    let mut lines = BTreeMap::new();
    for name in only {
        let found = match state.gateways().find(name) {
            Ok(found) => found,
            Err(error) => {
                damage.note(name, &error);
                continue;
            }
        };
        // Its id tells also what it did by an earlier name, and nothing of a removed gateway whose
        // name it has.
        let ours = |line: &Line| match &found {
            Some(record) => line.gateway_id.as_ref() == Some(&record.id),
            None => line.gateway.as_ref() == Some(name),
        };
        let before = lines.len();
        lines.extend(
            acts.iter().filter(|(_, line)| ours(line)).map(|(id, line)| (*id, line.clone())),
        );
        match found {
            Some(_) => lines.extend(events(state, name, damage)),
            // Of a removed gateway, only the acts are left.
            None if lines.len() > before => {}
            // Says which other name is near, or is its name now.
            None => drop(state.gateways().load(name)?),
        }
    }
    Ok(lines)
}

/// The lines of a gateway's events.
fn events(state: &State, name: &GatewayName, damage: &mut Damage) -> Vec<(EventId, Line)> {
    let events = state.gateways().load(name).and_then(|record| {
        let events = Generations::new(state).readable_events(&record.id)?;
        Ok(trail::of_events(&record.name, &record.id, &events))
    });
    match events {
        Ok(events) => events.into_iter().map(|line| (line.id, line)).collect(),
        Err(error) => {
            damage.note(name, &error);
            Vec::new()
        }
    }
}

/// The latest first.
#[derive(Serialize)]
#[serde(transparent)]
struct Lines(Vec<Line>);

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return write!(f, "nothing was done");
        }
        let width = |text: &dyn Fn(&Line) -> usize| self.0.iter().map(text).max().unwrap_or(0);
        let gateway = |line: &Line| line.gateway.as_ref().map_or("-", GatewayName::as_str).len();
        let author =
            |line: &Line| line.author.as_ref().map_or(1, |author| author.as_str().chars().count());
        let (gateway, author) = (width(&gateway), width(&author).min(32));
        for (number, line) in self.0.iter().enumerate() {
            let end = if number == 0 { "" } else { "\n" };
            write!(
                f,
                "{end}{}  {:<gateway$}  {:<author$}  {}",
                moment(line.at),
                line.gateway.as_ref().map_or("-", GatewayName::as_str),
                line.author.as_ref().map_or("-", |author| author.as_str()),
                line.deed
            )?;
            if let Some(commit) = &line.commit {
                write!(f, " (commit {:.12})", commit.as_str())?;
            }
            if let Some(message) = &line.message {
                write!(f, ": {message}")?;
            }
        }
        Ok(())
    }
}

fn moment(at: OffsetDateTime) -> String {
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}
