//! Publishing to one gateway.

use std::sync::Arc;

use anyhow::Result;
use time::OffsetDateTime;

use super::folder::Folder;
use super::stored::Stored;
use crate::fleet::By;
use crate::fleet::Generation;
use crate::fleet::History;
use crate::fleet::Kind;
use crate::fleet::Reason;
use crate::fleet::Record;
use crate::fleet::decide;
use crate::store::State;
use crate::store::generations::Generations;

/// Result of [`publish`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The generation with the files.
    pub generation: u64,
    /// `true` if it is new and was activated; `false` if nothing was done.
    pub changed: bool,
    /// The pinned generation, which is served instead.
    pub pinned: Option<u64>,
    /// Findings that do not stop a publish, a line each.
    pub warnings: Vec<String>,
}

/// Condition for publishing a folder as a new generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Only if the gateway does not get these files and variables already: no trial without a change.
    NotLive,
    /// Also not if the newest generation has these files and is not served: an operator rolled
    /// back.
    Changed,
    /// Always.
    Always,
}

/// Stores `folder` as the gateway's next generation and activates it, unless `when` says that
/// nothing is to be done.
///
/// The bytes are copied without a lock. Readers see the old generation until the one small file
/// that activates the new one has been renamed into place. `progress` gets the number of bytes
/// copied.
pub fn publish(
    state: &State,
    gateway: &Record,
    folder: &Folder,
    when: When,
    by: &By,
    now: OffsetDateTime,
    progress: &dyn Fn(u64),
) -> Result<Outcome> {
    let mut outcomes = publish_to_each(state, &[gateway], folder, when, by, now, progress)?;
    // One for each gateway.
    outcomes.remove(0)
}

/// The same for several gateways. The folder is stored once; a gateway that fails does not stop
/// the others.
pub fn publish_to_each(
    state: &State,
    gateways: &[&Record],
    folder: &Folder,
    when: When,
    by: &By,
    now: OffsetDateTime,
    progress: &dyn Fn(u64),
) -> Result<Vec<Result<Outcome>>> {
    let stored = Stored::new(state, &Generations::new(state), folder, progress)?;
    Ok(gateways
        .iter()
        .map(|gateway| activate(state, gateway, (folder, &stored), when, by, now))
        .collect())
}

fn activate(
    state: &State,
    gateway: &Record,
    (folder, stored): (&Folder, &Stored),
    when: When,
    by: &By,
    now: OffsetDateTime,
) -> Result<Outcome> {
    let generations = Generations::new(state);
    let Stored { files, variables, warnings, .. } = stored.clone();
    let lock = state.lock()?;
    stored.confirm(&lock, &generations, folder)?;
    let history = generations.history(&gateway.id)?;
    let has_these = |generation: &Generation| {
        *generation.files() == files && *generation.variables() == variables
    };
    let pinned = history.pinned().map(|generation| generation.number);
    let same = match when {
        When::Always => None,
        When::NotLive => live(state, gateway, &history),
        When::Changed => live(state, gateway, &history)
            .filter(|live| has_these(live))
            .or_else(|| history.generations().max_by_key(|generation| generation.number).cloned()),
    };
    if let Some(same) = same.filter(|same| has_these(same)) {
        return Ok(Outcome { generation: same.number, changed: false, pinned, warnings });
    }
    let number = history.next_number();
    let append = |kind| generations.append_by(&gateway.id, kind, Some(by), now);
    let published = append(Kind::Published { number, files, variables })?;
    append(Kind::Activated { generation: published })?;
    Ok(Outcome { generation: number, changed: true, pinned, warnings })
}

/// The current generation, if the next boot gets it. A generation that was given up is worth
/// another trial.
fn live(state: &State, gateway: &Record, history: &History) -> Option<Arc<Generation>> {
    let current = history.current()?;
    let next = decide(history, gateway.policy(state.config().assessment.tries))?;
    let given_up = matches!(next.reason, Reason::FellBack { .. } | Reason::NothingBetter { .. });
    (next.generation.id == current.id && !given_up).then(|| current.clone())
}
