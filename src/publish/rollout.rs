//! Publishing to many gateways, wave by wave.

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use time::OffsetDateTime;

use super::folder::Folder;
use super::stored::Stored;
use crate::fleet::Assessment;
use crate::fleet::By;
use crate::fleet::EventId;
use crate::fleet::Kind;
use crate::fleet::Record;
use crate::fleet::rollout::Member;
use crate::fleet::rollout::Rollout;
use crate::store::State;
use crate::store::generations::Generations;
use crate::store::rollouts;
use crate::store::rollouts::Rollouts;

/// Stores `folder` as the next generation of every gateway in `waves`, and activates it for the
/// first wave. The server activates it for the others. Returns the rollout, and findings that do
/// not stop a publish.
pub fn begin(
    state: &State,
    waves: &[Vec<Record>],
    folder: &Folder,
    by: &By,
    now: OffsetDateTime,
    progress: &dyn Fn(u64),
) -> Result<(EventId, Vec<String>)> {
    if let Some(empty) = waves.iter().position(Vec::is_empty) {
        bail!("wave {} has no gateway", empty + 1);
    }
    for (earlier, wave) in waves.iter().enumerate() {
        for record in wave {
            let twice = waves[..earlier].iter().flatten().any(|other| other.id == record.id);
            ensure!(!twice, "gateway {} is in two waves", record.name);
            ensure!(
                earlier + 1 == waves.len() || record.assessment != Assessment::None,
                "gateway {} never acknowledges (assessment none): nothing can wait for it",
                record.name
            );
        }
    }
    let generations = Generations::new(state);
    let stored = Stored::new(state, &generations, folder, progress)?;
    let lock = state.lock()?;
    stored.confirm(&lock, &generations, folder)?;
    let Stored { files, warnings } = stored;
    let publish = |record: &Record| -> Result<Member> {
        let number = generations.history(&record.id)?.next_number();
        let kind = Kind::Published { number, files: files.clone() };
        let generation = generations.append_by(&record.id, kind, Some(by), now)?;
        Ok(Member { gateway: record.name.clone(), id: record.id.clone(), generation })
    };
    let wave = |wave: &Vec<Record>| wave.iter().map(publish).collect::<Result<Vec<_>>>();
    let rollout = Rollout { waves: waves.iter().map(wave).collect::<Result<_>>()? };
    let id = Rollouts::new(state).begin(&lock, rollout, by, now)?;
    drop(lock);
    rollouts::advance_only(state, id, now).with_context(|| {
        format!("rollout {id} has begun, and goes on when the server looks at it next")
    })?;
    Ok((id, warnings))
}
