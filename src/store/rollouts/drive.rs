//! Carries rollouts on, stops, resumes and takes them back. Holds the state's lock for one step at
//! a time, so that commands and the server get their turn.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use time::OffsetDateTime;

use super::End;
use super::ReadRollouts;
use super::Rollouts;
use super::StoredRollout;
use crate::fleet::Act;
use crate::fleet::By;
use crate::fleet::EventId;
use crate::fleet::Generation;
use crate::fleet::Kind;
use crate::fleet::What;
use crate::fleet::rollout::Fleet;
use crate::fleet::rollout::Halt;
use crate::fleet::rollout::Member;
use crate::fleet::rollout::Rollout;
use crate::fleet::rollout::Seen;
use crate::fleet::rollout::Standing;
use crate::fleet::rollout::Step;
use crate::fleet::rollout::back;
use crate::fleet::rollout::next;
use crate::fleet::rollout::standing;
use crate::identity::GatewayName;
use crate::store::State;
use crate::store::acts::Acts;
use crate::store::blobs::Access;
use crate::store::generations::Generations;

/// Longest wait of a rollout for another writer of a gateway's events. It holds the state's lock
/// meanwhile, so it gives up early; the server retries.
const PATIENCE: Duration = Duration::from_millis(500);

/// Most gateways for which one step activates a generation, since others wait for the lock
/// meanwhile.
const MOST_AT_ONCE: usize = 64;

/// Advances every open rollout as far as possible, and calls `ended` for each that ends. A failed
/// rollout does not stop the others; all failures are returned as one error.
pub fn advance(state: &State, now: OffsetDateTime, ended: &dyn Fn(End)) -> Result<()> {
    let ReadRollouts { found, mut damaged } = Rollouts::new(state).open()?;
    for id in found.into_keys() {
        match advance_only(state, id, now) {
            Ok(end) => end.into_iter().for_each(ended),
            Err(error) => damaged.push(error.context(format!("rollout {id} waits"))),
        }
    }
    let wrong: Vec<_> = damaged.iter().map(|error| format!("{error:#}")).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

/// Advances one rollout as far as possible, if it is open, and returns its end if it came to one.
pub fn advance_only(state: &State, id: EventId, now: OffsetDateTime) -> Result<Option<End>> {
    loop {
        match step(state, id, now)? {
            Progress::Moved => {}
            Progress::Waits => return Ok(None),
            Progress::Ended(end) => return Ok(Some(end)),
        }
    }
}

/// The result of a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Moved,
    Waits,
    Ended(End),
}

/// Reads the gateways of a rollout.
pub fn fleet(state: &State, rollout: &Rollout) -> Result<Fleet> {
    let generations = Generations::new(state);
    let mut fleet = Fleet::new();
    for member in rollout.members() {
        if let Some(seen) = seen(state, &generations, member)? {
            fleet.insert(member.id.clone(), seen);
        }
    }
    Ok(fleet)
}

/// Reads one gateway; `None` if it was removed.
fn seen(state: &State, generations: &Generations, member: &Member) -> Result<Option<Seen>> {
    // By id: it may have another name now. An unreadable record does not mean that the gateway was
    // removed.
    let Some(record) = state.gateways().find_by_id(&member.id)? else { return Ok(None) };
    let policy = record.policy(state.config().assessment.tries);
    let history = Arc::new(generations.history(&record.id)?);
    Ok(Some(Seen { history, policy, revoked: record.is_revoked() }))
}

/// Says whether the files of a member's generation were removed.
fn is_gone(known: &Fleet, member: &Member) -> bool {
    let history = known.get(&member.id).map(|seen| &seen.history);
    let found = history.and_then(|history| Some((history, history.by_id(member.generation)?)));
    found.is_some_and(|(history, generation)| history.is_dropped(generation.number))
}

fn step(state: &State, id: EventId, now: OffsetDateTime) -> Result<Progress> {
    // No other process may act, and no operator may change anything, between the decision and its
    // events.
    let lock = state.lock()?;
    let rollouts = Rollouts::new(state);
    let Some(stored) = rollouts.open()?.found.remove(&id) else { return Ok(Progress::Waits) };
    let generations = Generations::new(state).with_patience(PATIENCE);
    let known = fleet(state, &stored.rollout)?;
    let (end, what, outcome) = match next(&stored.rollout, &known, now) {
        Step::Wait(_) => return Ok(Progress::Waits),
        Step::Activate(members) => {
            if let Some(member) = members.iter().find(|member| is_gone(&known, member)) {
                let outcome = format!(
                    "stopped at gateway {}: the files of its generation were removed by \
                     `farmgate gc`; publish the folder again",
                    member.gateway
                );
                tracing::error!(rollout = %id, "{outcome}");
                (End::Failed, What::RolloutFailed, outcome)
            } else {
                for member in members.into_iter().take(MOST_AT_ONCE) {
                    let kind = Kind::Activated { generation: member.generation };
                    generations.append_by(&member.id, kind, stored.by.as_ref(), now)?;
                    tracing::info!(rollout = %id, gateway = %member.gateway, "activated");
                }
                return Ok(Progress::Moved);
            }
        }
        Step::Stop(halt) => {
            let outcome = halt.to_string();
            tracing::error!(rollout = %id, "{outcome}");
            let end = match halt {
                Halt::TimedOut(..) => End::TimedOut,
                Halt::Bad(_) | Halt::Away(..) => End::Failed,
            };
            (end, What::RolloutFailed, outcome)
        }
        Step::Done => {
            tracing::info!(rollout = %id, "every wave works");
            (End::Finished, What::RolloutFinished, "finished: every wave works".to_owned())
        }
    };
    let act = Act::new(what, None, now).in_rollout(id).with_detail(&outcome);
    rollouts.close(&lock, id, end, outcome)?;
    Acts::new(state).note(&act);
    Ok(Progress::Ended(end))
}

/// Closes an open rollout: no other gateway gets the generation.
pub fn stop(state: &State, id: EventId, by: &By, now: OffsetDateTime) -> Result<()> {
    let lock = state.lock()?;
    let rollouts = Rollouts::new(state);
    if !rollouts.open()?.found.contains_key(&id) {
        bail!("there is no open rollout {}; `farmgate rollout list` shows all of them", id.short());
    }
    rollouts.close(&lock, id, End::Stopped, "stopped by an operator".to_owned())?;
    Acts::new(state).note(&Act::new(What::RolloutStopped, Some(by), now).in_rollout(id));
    Ok(())
}

/// The outcome of [`take_back`].
#[derive(Debug, Default)]
pub struct TakenBack {
    /// The generations that gateways got back.
    pub back: BTreeMap<GatewayName, u64>,
    /// Gateways that have the rollout's generation, and no other to go back to.
    pub stuck: Vec<GatewayName>,
    /// Gateways that could not be given another generation now, and why.
    pub failed: Vec<(GatewayName, anyhow::Error)>,
}

/// Gives the gateways of a closed rollout what they had before, if they still have what it gave
/// them. It can be interrupted, and repeated.
pub fn take_back(state: &State, id: EventId, by: &By, now: OffsetDateTime) -> Result<TakenBack> {
    let rollouts = Rollouts::new(state);
    let mark = || -> Result<StoredRollout> {
        let _lock = state.lock()?;
        let mut stored = rollouts.load(id)?;
        ensure!(stored.outcome.is_some(), "rollout {} is open; stop it first", id.short());
        stored.taken_back = true;
        rollouts.write_closed(id, &stored)?;
        Ok(stored)
    };
    let stored = mark()?;
    let mut done = TakenBack::default();
    // One for all: it remembers which blobs it has verified.
    let generations = Generations::new(state);
    for member in stored.rollout.members() {
        match give_back(state, &generations, member, by, now) {
            Ok(Given::Back(number)) => drop(done.back.insert(member.gateway.clone(), number)),
            Ok(Given::Stuck) => done.stuck.push(member.gateway.clone()),
            Ok(Given::Nothing) => {}
            Err(error) => done.failed.push((member.gateway.clone(), error)),
        }
    }
    let detail = format!("{} gateways got back what they had", done.back.len());
    let act = Act::new(What::RolloutTakenBack, Some(by), now).in_rollout(id);
    Acts::new(state).note(&act.with_detail(&detail));
    Ok(done)
}

enum Given {
    Back(u64),
    Stuck,
    /// It did not get the rollout's generation, or has another one by now.
    Nothing,
}

fn give_back(
    state: &State,
    generations: &Generations,
    member: &Member,
    by: &By,
    now: OffsetDateTime,
) -> Result<Given> {
    let target = || -> Result<Option<(Seen, Option<u64>)>> {
        let Some(seen) = seen(state, generations, member)? else { return Ok(None) };
        let has_it = seen.history.current().is_some_and(|live| live.id == member.generation);
        let number = back(member, &seen).map(|generation| generation.number);
        Ok(has_it.then_some((seen, number)))
    };
    // Hashing takes long, so it is done before the lock.
    let Some((seen, number)) = target()? else { return Ok(Given::Nothing) };
    let Some(generation) = number.and_then(|number| seen.history.generation(number)) else {
        return Ok(Given::Stuck);
    };
    ensure_servable(generations, generation)?;
    let _lock = state.lock()?;
    let Some((now_seen, again)) = target()? else { return Ok(Given::Nothing) };
    ensure!(again == number, "its generations changed meanwhile: try again");
    let Some(chosen) = again.and_then(|number| now_seen.history.generation(number)) else {
        return Ok(Given::Stuck);
    };
    let kind = Kind::Activated { generation: chosen.id };
    generations.append_by(&member.id, kind, Some(by), now)?;
    Ok(Given::Back(chosen.number))
}

fn ensure_servable(generations: &Generations, generation: &Generation) -> Result<()> {
    for (path, asset) in generation.files() {
        generations.blobs_of(Access::to(path)).verify(asset).with_context(|| {
            format!("generation {} cannot be served, because of {path}", generation.number)
        })?;
    }
    Ok(())
}

/// Opens a rollout again that was stopped or stopped by itself, without the gateways that left it.
/// Those on which the generation failed are left out only if `skip_failed` says so. Returns who was
/// left out.
pub fn resume(
    state: &State,
    id: EventId,
    skip_failed: bool,
    by: &By,
    now: OffsetDateTime,
) -> Result<Vec<GatewayName>> {
    let lock = state.lock()?;
    let rollouts = Rollouts::new(state);
    let mut stored = rollouts.load(id)?;
    match stored.end() {
        None => bail!("rollout {} is open already", id.short()),
        Some(End::Finished) => bail!("rollout {} has finished", id.short()),
        Some(_) => {}
    }
    ensure!(
        !stored.taken_back,
        "rollout {} was taken back; `farmgate publish --canary` begins a new one",
        id.short()
    );
    let known = fleet(state, &stored.rollout)?;
    let mut left_out = Vec::new();
    let mut without = BTreeSet::new();
    for member in stored.rollout.members() {
        if stored.rollout.left_out.contains(&member.id) {
            continue;
        }
        match standing(member, known.get(&member.id)) {
            Standing::Bad { .. } => ensure!(
                skip_failed,
                "the generation does not work on gateway {0}: `farmgate status {0}` shows how far \
                 it came, and `--skip-failed` goes on without it",
                member.gateway
            ),
            Standing::Away(_) => {}
            Standing::Waiting | Standing::Trying { .. } | Standing::Good | Standing::Unassessed => {
                continue;
            }
        }
        without.insert(member.id.clone());
        left_out.push(member.gateway.clone());
    }
    stored.rollout.left_out.extend(without);
    stored.rollout.resumed = Some(now);
    rollouts.reopen(&lock, id, stored)?;
    Acts::new(state).note(&Act::new(What::RolloutResumed, Some(by), now).in_rollout(id));
    Ok(left_out)
}
