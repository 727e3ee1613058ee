//! `farmgate log`: who did what, when and why.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::context::Context;
use super::context::now;
use super::damage::Damage;
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
    /// Only this gateway; it may have been removed
    #[arg(value_name = "NAME")]
    name: Option<GatewayName>,
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
        let mut lines = read(&state, self.name.as_ref(), &mut damage)?;
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

/// All lines, or those of one gateway, oldest first.
fn read(
    state: &State,
    name: Option<&GatewayName>,
    damage: &mut Damage,
) -> Result<BTreeMap<EventId, Line>> {
    let gateways = state.gateways();
    let acts = Acts::new(state).read()?;
    for error in &acts.damaged {
        damage.note(&"an act", error);
    }
    let acts = acts.acts.iter().map(|(id, act)| (*id, trail::of_act(*id, act)));
    // Its id tells also what it did by an earlier name, and nothing of a removed gateway whose name
    // it has.
    let found = name.map(|name| gateways.find(name)).transpose()?.flatten();
    let ours = |line: &Line| match (&found, name) {
        (Some(record), _) => line.gateway_id.as_ref() == Some(&record.id),
        (None, name) => name.is_none_or(|name| line.gateway.as_ref() == Some(name)),
    };
    let mut lines: BTreeMap<_, _> = acts.filter(|(_, line)| ours(line)).collect();
    let names = match name {
        // Of a removed gateway, only the acts are left.
        Some(_) if !lines.is_empty() && found.is_none() => Vec::new(),
        Some(name) => vec![gateways.load(name)?.name],
        None => gateways.names()?,
    };
    let generations = Generations::new(state);
    for name in names {
        let events = gateways.load(&name).and_then(|record| {
            let events = generations.readable_events(&record.id)?;
            Ok(trail::of_events(&record.name, &record.id, &events))
        });
        match events {
            Ok(events) => lines.extend(events.into_iter().map(|line| (line.id, line))),
            Err(error) => drop(damage.note(&name, &error)),
        }
    }
    Ok(lines)
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
