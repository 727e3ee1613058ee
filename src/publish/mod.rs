//! From a folder to a generation.

mod checked;
mod folder;
pub mod rollout;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use time::OffsetDateTime;

use crate::fleet::Asset;
use crate::fleet::Generation;
use crate::fleet::History;
use crate::fleet::Kind;
use crate::fleet::Reason;
use crate::fleet::Record;
use crate::fleet::decide;
use crate::store::State;
use crate::store::blobs::Access;
use crate::store::generations::Generations;
pub use checked::Checked;
use checked::CheckedFolder;
use folder::Folder;

/// What [`publish`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The generation that has the files.
    pub generation: u64,
    /// Whether it is new, and activated; if not, nothing was done.
    pub changed: bool,
    /// What does not stop a publish, a line each.
    pub warnings: Vec<String>,
}

/// When a folder becomes a new generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Unless the gateway gets just these files already: no trial begins for nothing.
    NotLive,
    /// Nor if the newest generation has these files, and is not served: somebody went back.
    Changed,
    /// Always.
    Always,
}

/// Stores `dir` as the gateway's next generation and makes it the one that is
/// served, `when` that makes a difference.
///
/// The bytes are copied without any lock; readers see the old generation until
/// the one small file that activates the new one has been renamed into place.
/// `progress` is told how many bytes were copied.
pub fn publish(
    state: &State,
    gateway: &Record,
    dir: &Path,
    when: When,
    now: OffsetDateTime,
    progress: &dyn Fn(u64),
) -> Result<Outcome> {
    let generations = Generations::new(state);
    let (files, warnings) = store_folder(state, &generations, dir, progress)?;
    let _lock = state.lock()?;
    let history = generations.history(&gateway.id)?;
    let same = match when {
        When::Always => None,
        When::NotLive => live(state, gateway, &history),
        When::Changed => live(state, gateway, &history)
            .filter(|live| *live.files() == files)
            .or_else(|| history.generations().max_by_key(|generation| generation.number).cloned()),
    };
    if let Some(same) = same.filter(|same| *same.files() == files) {
        return Ok(Outcome { generation: same.number, changed: false, warnings });
    }
    let number = history.next_number();
    let published = generations.append(&gateway.id, Kind::Published { number, files }, now)?;
    generations.append(&gateway.id, Kind::Activated { generation: published }, now)?;
    Ok(Outcome { generation: number, changed: true, warnings })
}

/// The current generation, if that is what the next boot gets: one that was given up is worth
/// another trial.
fn live(state: &State, gateway: &Record, history: &History) -> Option<Arc<Generation>> {
    let current = history.current()?;
    let next = decide(history, gateway.policy(state.config().assessment.tries))?;
    let given_up = matches!(next.reason, Reason::FellBack { .. } | Reason::NothingBetter { .. });
    (next.generation.id == current.id && !given_up).then(|| current.clone())
}

/// Checks `dir` and copies its files into blobs. Returns these, and what does not stop a publish.
fn store_folder(
    state: &State,
    generations: &Generations,
    dir: &Path,
    progress: &dyn Fn(u64),
) -> Result<(BTreeMap<String, Asset>, Vec<String>)> {
    let folder = Folder::open(dir)?;
    // Templates that are kept elsewhere belong to single gateways.
    let elsewhere = state.config().secrets.dir.is_some();
    let checked = CheckedFolder::read(&folder, elsewhere.then_some(true))?;
    checked.ensure_no_error(dir)?;
    let mut files = BTreeMap::new();
    for path in folder.paths() {
        let asset = folder.store(path, generations.blobs_of(Access::to(path)), progress)?;
        files.insert(path.to_owned(), asset);
    }
    folder.ensure_unchanged()?;
    Ok((files, checked.warnings()))
}

/// Checks the boot script of a folder against its files, and its template of secrets.
pub fn check(dir: &Path) -> Result<Vec<Checked>> {
    Ok(CheckedFolder::read(&Folder::open(dir)?, None)?.into_files())
}

/// Total size in bytes of what [`publish`] would copy.
pub fn size(dir: &Path) -> Result<u64> {
    Ok(Folder::open(dir)?.size())
}

/// Makes an earlier generation the one that is served: `number`, or else the one
/// that was served before the current one. Returns its number.
pub fn rollback(
    state: &State,
    gateway: &Record,
    number: Option<u64>,
    now: OffsetDateTime,
) -> Result<u64> {
    record(state, gateway, now, |history| {
        let target = match number {
            Some(number) => generation(gateway, history, number)?,
            None => {
                let current = current(gateway, history)?.number;
                history.previous().with_context(|| {
                    let name = &gateway.name;
                    format!("gateway {name} was never served any other generation than {current}")
                })?
            }
        };
        Ok((target, Kind::Activated { generation: target.id }))
    })
}

/// Has a generation served whatever assessment says, until [`release`]: `number`,
/// or else the current one. Returns its number.
pub fn pin(
    state: &State,
    gateway: &Record,
    number: Option<u64>,
    now: OffsetDateTime,
) -> Result<u64> {
    record(state, gateway, now, |history| {
        let target = match number {
            Some(number) => generation(gateway, history, number)?,
            None => current(gateway, history)?,
        };
        Ok((target, Kind::Pinned { generation: target.id }))
    })
}

/// Takes the pin away. Returns the number of the generation that is current.
pub fn release(state: &State, gateway: &Record, now: OffsetDateTime) -> Result<u64> {
    record(state, gateway, now, |history| {
        ensure!(history.pinned().is_some(), "gateway {} has no pin", gateway.name);
        Ok((current(gateway, history)?, Kind::Released))
    })
}

/// Records what `choose` makes of the history, if the generation can be served.
fn record(
    state: &State,
    gateway: &Record,
    now: OffsetDateTime,
    choose: impl FnOnce(&History) -> Result<(&Arc<Generation>, Kind)>,
) -> Result<u64> {
    let generations = Generations::new(state);
    let _lock = state.lock()?;
    let history = generations.history(&gateway.id)?;
    let (target, kind) = choose(&history)?;
    ensure_servable(&generations, target)?;
    let number = target.number;
    generations.append(&gateway.id, kind, now)?;
    Ok(number)
}

fn current<'a>(gateway: &Record, history: &'a History) -> Result<&'a Arc<Generation>> {
    let name = &gateway.name;
    history.current().with_context(|| format!("nothing is published for gateway {name}"))
}

fn generation<'a>(
    gateway: &Record,
    history: &'a History,
    number: u64,
) -> Result<&'a Arc<Generation>> {
    let name = &gateway.name;
    history.generation(number).with_context(|| {
        format!(
            "gateway {name} has no generation {number}; \
             `farmgate generations {name}` shows those there are"
        )
    })
}

fn ensure_servable(generations: &Generations, target: &Generation) -> Result<()> {
    for (path, asset) in target.files() {
        generations.blobs_of(Access::to(path)).verify(asset).with_context(|| {
            format!(
                "generation {} cannot be served, because of {path} (to publish its folder again \
                 mends it)",
                target.number
            )
        })?;
    }
    Ok(())
}
