//! Tells of boots while they happen, until each gateway has acknowledged a generation or failed.
//! Reads the state's disk, which the server writes.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;

use super::context::Context;
use super::context::now;
use super::rollout::MemberView;
use crate::fleet::GatewayId;
use crate::fleet::Record;
use crate::fleet::rollout::Member;
use crate::fleet::rollout::Rollout;
use crate::fleet::rollout::Rules;
use crate::fleet::rollout::Standing;
use crate::store::State;
use crate::store::generations::Generations;
use crate::store::rollouts;

/// The time between two looks: a boot takes longer, and a look reads some small files.
pub(super) const PAUSE: Duration = Duration::from_millis(500);

/// Follows gateways that have just got these generations, for `limit` at most. Fails if one does
/// not work, or is not heard of in time.
pub(super) fn follow(
    context: &Context,
    state: &State,
    gateways: &[(Record, u64)],
    limit: Option<Duration>,
) -> Result<()> {
    let generations = Generations::new(state);
    let member = |(record, number): &(Record, u64)| -> Result<Member> {
        let history = generations.history(&record.id)?;
        let generation = history
            .generation(*number)
            .with_context(|| format!("gateway {} has no generation {number}", record.name))?;
        Ok(Member {
            gateway: record.name.clone(),
            id: record.id.clone(),
            generation: generation.id,
        })
    };
    let wave: Vec<_> = gateways.iter().map(member).collect::<Result<_>>()?;
    let all = Rollout::new(vec![wave], Rules::default());
    let begun = Instant::now();
    let mut before: Vec<MemberView> = Vec::new();
    loop {
        let fleet = rollouts::fleet(state, &all)?;
        let read = |member| MemberView::read(state, member, fleet.get(&member.id));
        let views: Vec<_> = all.members().map(read).collect();
        changes(context, &before, &views)?;
        let of = |decided: &dyn Fn(&Standing) -> bool| {
            let those = views.iter().filter(|view| decided(&view.standing));
            those.map(|view| format!("{} {view}", view.gateway)).collect::<Vec<_>>()
        };
        let is_open =
            |standing: &Standing| matches!(standing, Standing::Waiting | Standing::Trying { .. });
        let waits = of(&is_open);
        if waits.is_empty() {
            let wrong =
                of(&|standing| matches!(standing, Standing::Bad { .. } | Standing::Away(_)));
            return match &wrong[..] {
                [] => Ok(()),
                wrong => bail!("{}", wrong.join("; ")),
            };
        }
        if limit.is_some_and(|limit| begun.elapsed() >= limit) {
            bail!("the time is up, and not every gateway has acknowledged: {}", waits.join("; "));
        }
        before = views;
        thread::sleep(PAUSE);
    }
}

/// Prints a line for each gateway that is elsewhere than before.
pub(super) fn changes(
    context: &Context,
    before: &[MemberView],
    after: &[MemberView],
) -> Result<()> {
    let known: BTreeMap<&GatewayId, &MemberView> =
        before.iter().map(|view| (view.id(), view)).collect();
    for view in after.iter().filter(|view| known.get(view.id()) != Some(view)) {
        let (hour, minute, second) = now().to_hms();
        let clock = format!("{hour:02}:{minute:02}:{second:02}Z");
        context.say(&format!("{clock}  {}  {view}", view.gateway))?;
    }
    Ok(())
}
