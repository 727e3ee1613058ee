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

use crate::store::State;
use crate::store::blobs::Access;
use crate::store::events::Asset;
use crate::store::events::Kind;
use crate::store::gateways::Record;
use crate::store::generations::Generations;
use crate::store::history::Generation;
use crate::store::history::History;
pub use checked::Checked;
use folder::Folder;

/// What [`publish`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This generation is new, and activated.
    Published(u64),
    /// The newest generation has just these files already; nothing was done.
    Unchanged(u64),
}

/// Stores `dir` as the gateway's next generation and makes it the one that is
/// served; with `only_changed`, not if it equals the newest one.
///
/// The bytes are copied without any lock; readers see the old generation until
/// the one small file that activates the new one has been renamed into place.
/// `progress` is told how many bytes were copied.
pub fn publish(
    state: &State,
    gateway: &Record,
    dir: &Path,
    only_changed: bool,
    now: OffsetDateTime,
    progress: &dyn Fn(u64),
) -> Result<Outcome> {
    let generations = Generations::new(state);
    let files = store_folder(&generations, dir, progress)?;
    let _lock = state.lock()?;
    let history = generations.history(&gateway.id)?;
    let newest = history.generations().max_by_key(|generation| generation.number);
    if let Some(newest) = newest.filter(|newest| only_changed && *newest.files() == files) {
        return Ok(Outcome::Unchanged(newest.number));
    }
    let number = history.next_number();
    let published = generations.append(&gateway.id, Kind::Published { number, files }, now)?;
    generations.append(&gateway.id, Kind::Activated { generation: published }, now)?;
    Ok(Outcome::Published(number))
}

/// Checks `dir` and copies its files into blobs.
fn store_folder(
    generations: &Generations,
    dir: &Path,
    progress: &dyn Fn(u64),
) -> Result<BTreeMap<String, Asset>> {
    let folder = Folder::open(dir)?;
    let checked = Checked::read(&folder)?;
    checked.ensure_no_error(dir)?;
    let mut files = BTreeMap::new();
    for path in folder.paths() {
        let asset = folder.store(path, generations.blobs_of(Access::to(path)), progress)?;
        files.insert(path.to_owned(), asset);
    }
    folder.ensure_unchanged()?;
    checked.warn();
    Ok(files)
}

/// Checks the boot script of a folder against its files.
pub fn check(dir: &Path) -> Result<Checked> {
    Checked::read(&Folder::open(dir)?)
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
            None => history.previous().with_context(|| {
                let name = &gateway.name;
                format!("gateway {name} was never served any other generation than the current one")
            })?,
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
