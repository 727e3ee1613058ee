//! Keeps the disk: drops generations that nobody needs any more, and removes blobs that no kept
//! generation names. Touches this host's disk; [`crate::replica`] does the same in a shared store.
//!
//! A generation is dropped by an event, so that every command and every boot host knows of it. Its
//! blobs are removed afterwards: a crash in between leaves blobs for the next run. Whoever adds a
//! generation does so under the state's lock, and so does this, a batch at a time. Boots take no
//! part in it: what they may be sent to is never dropped ([`Needs`](crate::fleet::keep::Needs)).

mod survey;
mod sweep;

use std::num::NonZeroU32;

use anyhow::Result;
use serde::Serialize;
use time::OffsetDateTime;

pub use survey::Survey;
pub use sweep::Candidates;
pub use sweep::ORPHANED;
pub use sweep::Swept;

use super::State;
use super::blobs::Access;
use super::generations::Generations;
use super::rollouts::Rollouts;
use crate::fleet::By;
use crate::fleet::GatewayId;
use crate::fleet::Kind;

/// The limits of a run.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// The number of newest generations of each gateway that stay. `None` drops no generation.
    pub keep: Option<NonZeroU32>,
    /// Changes nothing.
    pub dry_run: bool,
    /// The author of the events.
    pub by: &'a By,
}

/// The outcome of a run, or what it would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Generations that were dropped.
    pub dropped: Vec<Dropped>,
    /// Files that were removed from this host's disk.
    #[serde(flatten)]
    pub swept: Swept,
}

/// A generation whose files are gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dropped {
    #[serde(skip)]
    pub id: GatewayId,
    /// Name of the gateway. A removed one had it.
    pub gateway: String,
    pub generation: u64,
}

/// Drops what is superfluous, and removes the blobs that nothing names.
///
/// Fails, before it removes any blob, if an event cannot be read: it may name blobs.
pub fn collect(state: &State, wish: &Wish<'_>, now: OffsetDateTime) -> Result<Collected> {
    let mut survey = Survey::new(state, now)?;
    let dropped = match wish.keep {
        Some(keep) => drop_superfluous(state, &mut survey, keep, wish)?,
        None => Vec::new(),
    };
    let swept = sweep::sweep(state, &mut survey, wish.dry_run, None)?;
    if !wish.dry_run {
        Rollouts::new(state).forget_old(now)?;
    }
    Ok(Collected { dropped, swept })
}

/// Removes the blobs in `candidates` that nothing names any more, for example those of a gateway
/// that was removed.
pub fn free(state: &State, candidates: &Candidates, now: OffsetDateTime) -> Result<Swept> {
    let mut survey = Survey::new(state, now)?;
    sweep::sweep(state, &mut survey, false, Some(candidates))
}

/// The blobs that a gateway's generations name.
pub fn named(generations: &Generations, gateway: &GatewayId) -> Result<Candidates> {
    let history = generations.readable(gateway)?.history;
    let files = history.generations().flat_map(|generation| generation.files());
    Ok(files.map(|(path, asset)| (Access::to(path), asset.sha256)).collect())
}

/// Drops generations gateway by gateway, each under the state's lock: no command can choose a
/// generation at the same moment.
fn drop_superfluous(
    state: &State,
    survey: &mut Survey,
    keep: NonZeroU32,
    wish: &Wish<'_>,
) -> Result<Vec<Dropped>> {
    let generations = Generations::new(state);
    let mut dropped = Vec::new();
    for id in survey.gateways() {
        if survey.superfluous(&id, keep).is_empty() {
            continue;
        }
        let _lock = state.lock()?;
        survey.refresh(Some(&id))?;
        for generation in survey.superfluous(&id, keep) {
            if wish.dry_run {
                survey.pretend_dropped(&id, &generation);
            } else {
                let after = survey.last_activation(&id, generation.number);
                let kind = Kind::Dropped { generation: generation.id, after };
                generations.append_by(&id, kind, Some(wish.by), survey.now())?;
                tracing::info!(gateway_id = %id, generation = generation.number, "dropped");
            }
            let gateway = id.name().to_owned();
            dropped.push(Dropped { id: id.clone(), gateway, generation: generation.number });
        }
        survey.refresh(Some(&id))?;
    }
    Ok(dropped)
}
