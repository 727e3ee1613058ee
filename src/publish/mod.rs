//! From a folder to a generation.

mod checked;
mod folder;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use time::OffsetDateTime;

use crate::store::State;
use crate::store::events::Kind;
use crate::store::events::SECRETS;
use crate::store::gateways::Record;
use crate::store::generations::Generations;
pub use checked::Checked;
use folder::Folder;

/// Stores `dir` as the gateway's next generation and makes it the one that is
/// served. Returns its number.
///
/// The bytes are copied without any lock; readers see the old generation until
/// the one small file that activates the new one has been renamed into place.
/// `progress` is told how many bytes were copied.
pub fn publish(
    state: &State,
    gateway: &Record,
    dir: &Path,
    now: OffsetDateTime,
    progress: &dyn Fn(u64),
) -> Result<u64> {
    let generations = Generations::new(state);
    let folder = Folder::open(dir)?;
    let checked = Checked::read(&folder)?;
    checked.ensure_no_error(dir)?;
    let mut files = BTreeMap::new();
    for path in folder.paths() {
        let asset = folder.store(path, generations.blobs(), path == SECRETS, progress)?;
        files.insert(path.to_owned(), asset);
    }
    folder.ensure_unchanged()?;

    let _lock = state.lock()?;
    let number = generations.history(&gateway.id)?.next_number();
    let published = generations.append(&gateway.id, Kind::Published { number, files }, now)?;
    generations.append(&gateway.id, Kind::Activated { generation: published }, now)?;
    checked.warn();
    Ok(number)
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
    let generations = Generations::new(state);
    let _lock = state.lock()?;
    let history = generations.history(&gateway.id)?;
    let name = &gateway.name;
    let target = match number {
        Some(number) => history.generation(number).with_context(|| {
            format!(
                "gateway {name} has no generation {number}; \
                 `farmgate generations {name}` shows those there are"
            )
        })?,
        None => history.previous().with_context(|| {
            format!("gateway {name} was never served any other generation than the current one")
        })?,
    };
    for (path, asset) in target.files() {
        let size = generations.blobs().size(&asset.sha256).with_context(|| {
            format!("generation {} cannot be served: {path} is missing", target.number)
        })?;
        ensure!(
            size == asset.size,
            "generation {} cannot be served: {path} is damaged (blob {})",
            target.number,
            asset.sha256
        );
    }
    let number = target.number;
    generations.append(&gateway.id, Kind::Activated { generation: target.id }, now)?;
    Ok(number)
}
