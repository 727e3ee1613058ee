//! Publishing to many gateways, wave by wave.

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use time::OffsetDateTime;

use super::folder::Folder;
use super::stored::Stored;
use crate::fleet::Act;
use crate::fleet::Assessment;
use crate::fleet::By;
use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::fleet::Kind;
use crate::fleet::Record;
use crate::fleet::What;
use crate::fleet::rollout::Member;
use crate::fleet::rollout::Rollout;
use crate::fleet::rollout::Rules;
use crate::store::State;
use crate::store::acts::Acts;
use crate::store::generations::Generations;
use crate::store::lock::StateLock;
use crate::store::rollouts;
use crate::store::rollouts::Rollouts;

/// Stores `folder` as the next generation of every gateway in `waves`, and activates it for the
/// first wave. The server activates it for the others. Returns the rollout, and findings that do
/// not stop a publish.
pub fn begin(
    state: &State,
    waves: &[Vec<Record>],
    rules: Rules,
    folder: &Folder,
    by: &By,
    now: OffsetDateTime,
    progress: &dyn Fn(u64),
) -> Result<(EventId, Vec<String>)> {
    ensure_waves(state, waves)?;
    let generations = Generations::new(state);
    let stored = Stored::new(state, &generations, folder, progress)?;
    let lock = state.lock()?;
    stored.confirm(&lock, &generations, folder)?;
    let Stored { files, variables, mut warnings, .. } = stored;
    warnings.extend(overlaps(state, waves)?);
    let publish = |record: &Record| -> Result<Member> {
        let number = generations.history(&record.id)?.next_number();
        let kind = Kind::Published { number, files: files.clone(), variables: variables.clone() };
        let generation = generations.append_by(&record.id, kind, Some(by), now)?;
        Ok(Member { gateway: record.name.clone(), id: record.id.clone(), generation })
    };
    let wave = |wave: &Vec<Record>| wave.iter().map(publish).collect::<Result<Vec<_>>>();
    let members = waves.iter().map(wave).collect::<Result<_>>()?;
    let id = open(state, &lock, Rollout::new(members, rules), by, now)?;
    drop(lock);
    go_on(state, id, now)?;
    Ok((id, warnings))
}

/// Opens a rollout over generations that are published; [`go_on`] begins it.
pub(super) fn open(
    state: &State,
    lock: &StateLock,
    rollout: Rollout,
    by: &By,
    now: OffsetDateTime,
) -> Result<EventId> {
    let sizes: Vec<_> = rollout.waves.iter().map(|wave| wave.len().to_string()).collect();
    let id = Rollouts::new(state).begin(lock, rollout, by, now)?;
    let act = Act::new(What::RolloutBegun, Some(by), now).in_rollout(id);
    Acts::new(state).note(&act.with_detail(&format!("{} gateways", sizes.join(" + "))));
    Ok(id)
}

/// Activates what is next in a rollout; the server does the rest.
pub fn go_on(state: &State, id: EventId, now: OffsetDateTime) -> Result<()> {
    rollouts::advance_only(state, id, now).map(drop).with_context(|| {
        format!("rollout {id} has begun, and goes on when the server looks at it next")
    })
}

/// Fails if a rollout in these waves could not come to its end.
pub(super) fn ensure_waves(state: &State, waves: &[Vec<Record>]) -> Result<()> {
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
    let before_the_last = waves.split_last().map_or(&[][..], |(_, before)| before);
    for record in before_the_last.iter().flatten() {
        if let Some(pinned) = generations.history(&record.id)?.pinned() {
            let (name, number) = (&record.name, pinned.number);
            bail!(
                "generation {number} of gateway {name} is pinned: nothing can wait for another one \
                 there; `farmgate release {name}` takes the pin away"
            );
        }
    }
    Ok(())
}

/// Gateways that another open rollout has, too. It stops at the first that gets this generation
/// before its own.
fn overlaps(state: &State, waves: &[Vec<Record>]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    // One that cannot be read holds up no other.
    for (id, stored) in Rollouts::new(state).open()?.found {
        let ours = |id: &GatewayId| waves.iter().flatten().any(|record| record.id == *id);
        let both: Vec<_> = stored.rollout.members().filter(|member| ours(&member.id)).collect();
        if let Some(first) = both.first() {
            let rest = match both.len() {
                1 => String::new(),
                count => format!(" and {} more", count - 1),
            };
            found.push(format!(
                "rollout {} is open, and has {}{rest}, too: the one that activates its generation \
                 first stops the other",
                id.short(),
                first.gateway
            ));
        }
    }
    Ok(found)
}
