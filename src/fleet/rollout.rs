//! Rollouts in waves: which gateways get a new generation next, how far each of them is, and what
//! an end that was not the planned one leaves to do. Pure.

mod back;
mod member;
mod rules;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

pub use back::back;
pub use member::Away;
pub use member::Member;
pub use member::Seen;
pub use member::Standing;
pub use member::standing;
pub use rules::ParseShareError;
pub use rules::Rules;
pub use rules::Share;

use super::GatewayId;

/// Gateways that get a new generation wave by wave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rollout {
    /// The waves; the canaries come first.
    pub waves: Vec<Vec<Member>>,
    /// Conditions for the end of a wave. Older versions wait for every gateway, as long as it takes.
    #[serde(flatten)]
    pub rules: Rules,
    /// Gateways that it goes on without, since an operator resumed it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub left_out: BTreeSet<GatewayId>,
    /// The time when it was last resumed: no wave waits since before.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub resumed: Option<OffsetDateTime>,
}

/// All gateways of a rollout as they are now, by id. Removed ones are not among them.
pub type Fleet = BTreeMap<GatewayId, Seen>;

/// The next step of a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Activate the generation for these; enough of the waves before them work.
    Activate(Vec<&'a Member>),
    /// Wait for the acknowledgements of these.
    Wait(Vec<&'a Member>),
    /// Stop: no further gateway gets the generation.
    Stop(Halt<'a>),
    /// Finished: every wave was activated, and enough of each works.
    Done,
}

/// The reason for a rollout to stop by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt<'a> {
    /// The generation does not work on this gateway.
    Bad(&'a Member),
    /// This gateway can say nothing about the generation any more.
    Away(&'a Member, Away),
    /// A wave, counted from 1, waited too long for these.
    TimedOut(usize, Vec<&'a Member>),
}

/// Names that a message lists before it counts the rest.
const NAMED: usize = 5;

impl fmt::Display for Halt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad(member) => {
                write!(f, "stopped at gateway {}: it used up its tries", member.gateway)
            }
            Self::Away(member, away) => {
                write!(f, "stopped at gateway {}: {away}", member.gateway)
            }
            Self::TimedOut(wave, members) => {
                let names: Vec<_> = members.iter().map(|member| member.gateway.as_str()).collect();
                let (named, rest) = names.split_at(names.len().min(NAMED));
                write!(f, "stopped: wave {wave} waited too long for {}", named.join(", "))?;
                if rest.is_empty() { Ok(()) } else { write!(f, " and {} more", rest.len()) }
            }
        }
    }
}

impl Rollout {
    /// A rollout that has not begun.
    pub fn new(waves: Vec<Vec<Member>>, rules: Rules) -> Self {
        Self { waves, rules, left_out: BTreeSet::new(), resumed: None }
    }

    /// All its gateways.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.waves.iter().flatten()
    }
}

/// The members of one wave, by how far they are.
#[derive(Default)]
struct Wave<'a> {
    waiting: Vec<&'a Member>,
    trying: Vec<&'a Member>,
    unassessed: Vec<&'a Member>,
    away: Vec<(&'a Member, Away)>,
    good: usize,
    /// The latest activation among those that are being tried.
    since: Option<OffsetDateTime>,
}

/// Decides the next step from what is known of the gateways at the time `now`.
///
/// The first gateway on which the generation fails stops the rollout, however few a wave waits for:
/// the share is for machines that are switched off, which say nothing.
pub fn next<'a>(rollout: &'a Rollout, fleet: &Fleet, now: OffsetDateTime) -> Step<'a> {
    let last = rollout.waves.len().saturating_sub(1);
    for (number, members) in rollout.waves.iter().enumerate() {
        let mut wave = Wave::default();
        for member in members.iter().filter(|member| !rollout.left_out.contains(&member.id)) {
            match standing(member, fleet.get(&member.id)) {
                Standing::Waiting => wave.waiting.push(member),
                Standing::Trying { since, .. } => {
                    wave.trying.push(member);
                    wave.since = wave.since.max(since);
                }
                Standing::Good => wave.good += 1,
                Standing::Unassessed => wave.unassessed.push(member),
                Standing::Bad { .. } => return Step::Stop(Halt::Bad(member)),
                Standing::Away(away) => wave.away.push((member, away)),
            }
        }
        // Nothing comes after the last wave that those who left could keep from a mistake, and
        // nobody waits for systems that never acknowledge.
        let mut counted = wave.good + wave.waiting.len() + wave.trying.len();
        if number == last {
            wave.away.clear();
        } else {
            counted += wave.away.len() + wave.unassessed.len();
            wave.trying.append(&mut wave.unassessed);
        }
        // An operator's word against the generation counts more than an acknowledgement.
        let against = wave.away.iter().find(|(_, away)| *away == Away::WentBack);
        if let Some((member, away)) = against {
            return Step::Stop(Halt::Away(member, *away));
        }
        let passed = wave.good >= rollout.rules.wait_for.of(counted);
        if let Some((member, away)) = wave.away.first().filter(|_| !passed) {
            return Step::Stop(Halt::Away(member, *away));
        }
        if !wave.waiting.is_empty() {
            return Step::Activate(wave.waiting);
        }
        if !passed {
            let since = wave.since.max(rollout.resumed);
            return match rollout.rules.timeout {
                Some(limit) if since.is_some_and(|since| now - since >= limit) => {
                    Step::Stop(Halt::TimedOut(number + 1, wave.trying))
                }
                _ => Step::Wait(wave.trying),
            };
        }
    }
    Step::Done
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
