//! Rollouts, and how far each of their gateways is.

use anyhow::Result;

use crate::fleet::EventId;
use crate::fleet::History;
use crate::fleet::Policy;
use crate::fleet::rollout::Member as Planned;
use crate::server::app::App;
use crate::server::page::model::Member;
use crate::server::page::model::Progress;
use crate::server::page::model::Rollout;
use crate::store::rollouts::Rollouts;
use crate::store::rollouts::StoredRollout;

/// Closed rollouts that are shown.
const CLOSED: usize = 10;

/// The open rollouts, latest first.
pub(super) fn open_rollouts(app: &App) -> Result<Vec<Rollout>> {
    let open = Rollouts::new(&app.settings().state).open()?;
    Ok(open.found.into_iter().rev().map(|(id, stored)| rollout(app, id, stored)).collect())
}

/// The open rollouts and the latest closed ones, latest first.
pub(in crate::server) fn all_rollouts(app: &App) -> Result<Vec<Rollout>> {
    let mut all = open_rollouts(app)?;
    let closed = Rollouts::new(&app.settings().state).closed()?;
    let closed = closed.found.into_iter().rev().take(CLOSED);
    all.extend(closed.map(|(id, stored)| rollout(app, id, stored)));
    Ok(all)
}

fn rollout(app: &App, id: EventId, stored: StoredRollout) -> Rollout {
    let members = |wave: &Vec<Planned>| wave.iter().map(|planned| member(app, planned)).collect();
    Rollout {
        id,
        began: stored.began,
        waves: stored.rollout.waves.iter().map(members).collect(),
        outcome: stored.outcome,
    }
}

fn member(app: &App, planned: &Planned) -> Member {
    let record = app.gateways().find_by_id(&planned.id).ok().flatten();
    let policy = record.map(|record| record.policy(app.settings().tries));
    let history = app.generations().history(&planned.id).ok();
    let (Some(policy), Some(history)) = (policy, history) else {
        let gateway = planned.gateway.to_string();
        return Member { gateway, generation: None, progress: Progress::Elsewhere, since: None };
    };
    let published = history.by_id(planned.generation);
    Member {
        gateway: planned.gateway.to_string(),
        generation: published.map(|published| published.number),
        progress: published.map_or(Progress::Elsewhere, |p| progress(&history, p.number, policy)),
        since: published
            .and_then(|published| history.trial(published.number).live_since())
            .map(|activated| activated.time()),
    }
}

fn progress(history: &History, number: u64, policy: Policy) -> Progress {
    let (trial, current) = (history.trial(number), history.current().map(|current| current.number));
    match (current, policy) {
        _ if trial.is_good() => Progress::Good,
        (Some(current), Policy::Tries(tries))
            if current == number && trial.tries >= tries.get() =>
        {
            Progress::Bad
        }
        (Some(current), _) if current == number => Progress::Trying,
        _ if history.was_activated(number) => Progress::Elsewhere,
        _ => Progress::Waiting,
    }
}
