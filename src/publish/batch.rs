//! Publishing to many gateways at once, to each its own files.

use std::collections::BTreeMap;

use anyhow::Context;
use anyhow::Result;
use time::OffsetDateTime;

use super::rollout;
use crate::fleet::Asset;
use crate::fleet::By;
use crate::fleet::EventId;
use crate::fleet::Kind;
use crate::fleet::Record;
use crate::fleet::Variables;
use crate::fleet::rollout::Member;
use crate::fleet::rollout::Rollout;
use crate::fleet::rollout::Rules;
use crate::identity::GatewayName;
use crate::store::State;
use crate::store::blobs::Access;
use crate::store::generations::Generations;
use crate::store::lock::StateLock;

/// The next generation of a gateway. Its files are blobs, and were checked.
#[derive(Clone, Debug)]
pub struct Item {
    /// The gateway.
    pub record: Record,
    /// Its files by path.
    pub files: BTreeMap<String, Asset>,
    /// Settings for its boot script.
    pub variables: Variables,
}

/// The generations that were published.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Numbers of the new generations.
    pub published: BTreeMap<GatewayName, u64>,
    /// The rollout, if there are several waves: [`rollout::go_on`] begins it.
    pub rollout: Option<EventId>,
}

/// Publishes all `waves`. A single wave is activated at once; several become a rollout with these
/// `rules`. No gateway
/// is activated before everything is published, so that a full disk in the middle changes no boot.
pub fn publish_all(
    state: &State,
    lock: &StateLock,
    waves: &[Vec<Item>],
    rules: Rules,
    by: &By,
    now: OffsetDateTime,
) -> Result<Batch> {
    let waits = |wave: &Vec<Item>| wave.iter().map(|item| item.record.clone()).collect();
    rollout::ensure_waves(state, &waves.iter().map(waits).collect::<Vec<_>>())?;
    let generations = Generations::new(state);
    // Nobody removes files while the lock is held; somebody may have before.
    for (path, asset) in waves.iter().flatten().flat_map(|item| &item.files) {
        generations.blobs_of(Access::to(path)).find(asset).with_context(|| {
            format!("{path} was removed while this was prepared; nothing was published: try again")
        })?;
    }
    let mut batch = Batch::default();
    let mut members = Vec::new();
    for wave in waves {
        let mut of_wave = Vec::new();
        for Item { record, files, variables } in wave {
            let number = generations.history(&record.id)?.next_number();
            let (files, variables) = (files.clone(), variables.clone());
            let kind = Kind::Published { number, files, variables };
            let generation = generations.append_by(&record.id, kind, Some(by), now)?;
            batch.published.insert(record.name.clone(), number);
            of_wave.push(Member {
                gateway: record.name.clone(),
                id: record.id.clone(),
                generation,
            });
        }
        members.push(of_wave);
    }
    if members.len() > 1 {
        batch.rollout = Some(rollout::open(state, lock, Rollout::new(members, rules), by, now)?);
        return Ok(batch);
    }
    for member in members.into_iter().flatten() {
        let kind = Kind::Activated { generation: member.generation };
        generations.append_by(&member.id, kind, Some(by), now)?;
    }
    Ok(batch)
}
