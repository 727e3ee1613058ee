//! Choosing among generations that are published: rollback, pin, release.

use std::sync::Arc;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use time::OffsetDateTime;

use crate::fleet::By;
use crate::fleet::Generation;
use crate::fleet::History;
use crate::fleet::Kind;
use crate::fleet::Record;
use crate::store::State;
use crate::store::blobs::Access;
use crate::store::generations::Generations;

/// The generation that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// Number of the generation.
    pub generation: u64,
    /// The generation that was pinned until then.
    pub pinned: Option<u64>,
}

/// Makes an earlier generation current: `number`, or else the one that was current before.
pub fn rollback(
    state: &State,
    gateway: &Record,
    number: Option<u64>,
    by: &By,
    now: OffsetDateTime,
) -> Result<Served> {
    record(state, gateway, by, now, |history| {
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

/// Serves a generation whatever assessment says, until [`release`]: `number`, or else the current
/// one.
pub fn pin(
    state: &State,
    gateway: &Record,
    number: Option<u64>,
    by: &By,
    now: OffsetDateTime,
) -> Result<Served> {
    record(state, gateway, by, now, |history| {
        let target = match number {
            Some(number) => generation(gateway, history, number)?,
            None => current(gateway, history)?,
        };
        Ok((target, Kind::Pinned { generation: target.id }))
    })
}

/// Removes the pin. The current generation is served again.
pub fn release(state: &State, gateway: &Record, by: &By, now: OffsetDateTime) -> Result<Served> {
    record(state, gateway, by, now, |history| {
        ensure!(history.pinned().is_some(), "gateway {} has no pin", gateway.name);
        Ok((current(gateway, history)?, Kind::Released))
    })
}

/// Appends the event that `choose` returns for the history, if that generation's files are intact.
fn record(
    state: &State,
    gateway: &Record,
    by: &By,
    now: OffsetDateTime,
    choose: impl FnOnce(&History) -> Result<(&Arc<Generation>, Kind)>,
) -> Result<Served> {
    let generations = Generations::new(state);
    let _lock = state.lock()?;
    let history = generations.history(&gateway.id)?;
    let (target, kind) = choose(&history)?;
    ensure!(
        !history.is_dropped(target.number),
        "the files of generation {0} of {1} were removed by `farmgate gc`: publish its folder \
         again, or choose one that `farmgate generations {1}` shows with files",
        target.number,
        gateway.name
    );
    ensure_servable(&generations, target)?;
    let pinned = history.pinned().map(|generation| generation.number);
    let served = Served { generation: target.number, pinned };
    generations.append_by(&gateway.id, kind, Some(by), now)?;
    Ok(served)
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
             `farmgate generations {name}` shows all of them"
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
