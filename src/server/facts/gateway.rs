//! One gateway, with all that is known.

use std::cmp::Reverse;
use std::sync::Arc;

use anyhow::Result;

use super::changes::changes;
use super::fleet::gateway;
use super::stages::Stages;
use crate::fleet::EventId;
use crate::fleet::Generation as Published;
use crate::fleet::History;
use crate::fleet::Record;
use crate::fleet::SECRETS;
use crate::fleet::trail;
use crate::fleet::trail::Line;
use crate::identity::GatewayName;
use crate::server::app::App;
use crate::server::page::model::Boot;
use crate::server::page::model::Details;
use crate::server::page::model::File;
use crate::server::page::model::Gateway;
use crate::server::page::model::Generation;
use crate::server::page::model::Owned;
use crate::server::page::model::Step;
use crate::store::State;
use crate::store::acts::Acts;
use crate::store::consoles::Console;
use crate::store::consoles::Consoles;
use crate::store::generations::Generations;
use crate::store::journal::Entry;
use crate::store::journal::Journals;

/// Boots that are shown, entries outside of any boot, and lines of the log.
const BOOTS: usize = 12;
const OTHER: usize = 20;
const LINES: usize = 50;

/// Generations that are shown and compared.
const GENERATIONS: usize = 10;

/// Reads everything about a gateway; `None` if there is none of this name.
pub(in crate::server) fn details(
    app: &App,
    stages: &Stages,
    name: &GatewayName,
) -> Result<Option<Details>> {
    if !app.gateways().names()?.contains(name) {
        return Ok(None);
    }
    let gateway = gateway(app, stages, name, None);
    let record = app.gateways().load(name).ok();
    let history = record.as_ref().and_then(|record| app.generations().history(&record.id).ok());
    let (Some(record), Some(history)) = (record, history) else {
        return Ok(Some(Details::unreadable(gateway)));
    };
    let state = &app.settings().state;
    let journal = Journals::new(state).read(&record.id).unwrap_or_default();
    let generations: Vec<_> = history.generations().cloned().collect();
    let shown = generations.len().saturating_sub(GENERATIONS);
    Ok(Some(Details {
        added: Some(record.added),
        certificates: certificates(&record),
        boots: boots(
            &history,
            &journal,
            &Consoles::new(state).read(&record.id).unwrap_or_default(),
        ),
        other: journal.iter().rev().filter(|e| e.boot.is_none()).take(OTHER).map(step).collect(),
        generations: (shown..generations.len())
            .rev()
            .map(|at| generation(app, &gateway, &history, &generations, at))
            .collect(),
        older: shown,
        log: log(state, &record),
        gateway,
    }))
}

fn certificates(record: &Record) -> Vec<Owned> {
    let owned = record.certificates.iter().rev().map(|owned| Owned {
        fingerprint: owned.fingerprint.to_string(),
        state: owned.state.as_str(),
        not_after: owned.not_after,
    });
    owned.collect()
}

fn boots(history: &History, journal: &[Entry], consoles: &[Console]) -> Vec<Boot> {
    let console = |id: &EventId| consoles.iter().rfind(|console| console.boot == *id);
    let latest = history.boots().iter().rev().take(BOOTS).map(|(id, boot)| Boot {
        generation: boot.generation,
        at: boot.at,
        acknowledged: boot.acknowledged,
        steps: journal.iter().filter(|entry| entry.boot == Some(*id)).map(step).collect(),
        console: console(id).map(|console| console.text.clone()),
    });
    latest.collect()
}

fn step(entry: &Entry) -> Step {
    Step { at: entry.at, address: entry.address.clone(), stage: entry.stage.clone() }
}

fn generation(
    app: &App,
    gateway: &Gateway,
    history: &History,
    all: &[Arc<Published>],
    at: usize,
) -> Generation {
    let generation = &all[at];
    let number = generation.number;
    let is = |found: Option<&Arc<Published>>| found.is_some_and(|found| found.number == number);
    let marks = [
        ("current", is(history.current())),
        ("pinned", is(history.pinned())),
        ("last good", is(history.last_good())),
        ("next boot", gateway.next.is_some_and(|next| next.generation == number)),
    ];
    let trial = history.trial(number);
    let works = if trial.is_good() {
        Some(true)
    } else {
        let tries = app.settings().tries.get();
        (gateway.assessed && trial.tries >= tries).then_some(false)
    };
    let files = generation.files().iter().map(|(path, asset)| File {
        path: path.clone(),
        size: asset.size,
        // Whoever guesses a short secret could compare.
        sha256: (path != SECRETS).then(|| asset.sha256.to_string()),
    });
    Generation {
        number,
        published: generation.published,
        marks: marks.into_iter().filter(|(_, holds)| *holds).map(|(mark, _)| mark).collect(),
        works,
        files: files.collect(),
        changes: at.checked_sub(1).map(|before| changes(app, &all[before], generation)),
    }
}

/// The log of the gateway, latest first.
fn log(state: &State, record: &Record) -> Vec<Line> {
    let events = Generations::new(state).readable_events(&record.id).unwrap_or_default();
    let acts = Acts::new(state).read().map(|read| read.acts).unwrap_or_default();
    let acts = acts.iter().filter(|(_, act)| act.gateway_id.as_ref() == Some(&record.id));
    let mut lines = trail::of_events(&record.name, &record.id, &events);
    lines.extend(acts.map(|(id, act)| trail::of_act(*id, act)));
    lines.sort_by_key(|line| Reverse(line.id));
    lines.truncate(LINES);
    lines
}

impl Details {
    /// A gateway whose files cannot be read.
    fn unreadable(gateway: Gateway) -> Self {
        Self {
            gateway,
            added: None,
            certificates: Vec::new(),
            boots: Vec::new(),
            other: Vec::new(),
            generations: Vec::new(),
            older: 0,
            log: Vec::new(),
        }
    }
}
