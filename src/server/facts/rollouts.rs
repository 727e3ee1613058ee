//! Rollouts, and how far each of their gateways is.

use anyhow::Result;

use crate::fleet::EventId;
use crate::fleet::rollout::Member as Planned;
use crate::fleet::rollout::Standing;
use crate::fleet::rollout::standing;
use crate::server::app::App;
use crate::server::page::model::Member;
use crate::server::page::model::Progress;
use crate::server::page::model::Rollout;
use crate::store::rollouts::End;
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
    let left_out = |planned: &Planned| stored.rollout.left_out.contains(&planned.id);
    let member = |planned: &Planned| Member { left_out: left_out(planned), ..member(app, planned) };
    let members = |wave: &Vec<Planned>| wave.iter().map(member).collect();
    let rules = &stored.rollout.rules;
    Rollout {
        id,
        began: stored.began,
        waves: stored.rollout.waves.iter().map(members).collect(),
        wait_for: (!rules.wait_for.is_all()).then(|| rules.wait_for.to_string()),
        timeout: rules.timeout.and_then(|limit| limit.try_into().ok()),
        resumed: stored.rollout.resumed,
        can_resume: stored.end().is_some_and(|end| end != End::Finished) && !stored.taken_back,
        taken_back: stored.taken_back,
        outcome: stored.outcome,
    }
}

fn member(app: &App, planned: &Planned) -> Member {
    let seen = app.seen(planned);
    let history = seen.as_ref().map(|seen| &seen.history);
    let published = history.and_then(|history| history.by_id(planned.generation));
    let (progress, since) = match standing(planned, seen.as_ref()) {
        Standing::Waiting => (Progress::Waiting, None),
        Standing::Trying { since, .. } => (Progress::Trying, since),
        Standing::Unassessed => (Progress::Trying, None),
        Standing::Good => (Progress::Good, None),
        Standing::Bad { .. } => (Progress::Bad, None),
        Standing::Away(_) => (Progress::Elsewhere, None),
    };
    Member {
        gateway: planned.gateway.to_string(),
        generation: published.map(|published| published.number),
        progress,
        since,
        left_out: false,
    }
}
