//! A rollout at one moment, for people and programs.

use std::fmt;

use anyhow::Result;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::status::short;
use crate::fleet::By;
use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::fleet::History;
use crate::fleet::rollout::Member;
use crate::fleet::rollout::Seen;
use crate::fleet::rollout::Share;
use crate::fleet::rollout::Standing;
use crate::fleet::rollout::standing;
use crate::identity::GatewayName;
use crate::store::State;
use crate::store::journal::Journals;
use crate::store::rollouts;
use crate::store::rollouts::End;
use crate::store::rollouts::StoredRollout;

#[derive(Serialize)]
pub(super) struct View {
    pub(super) rollout: EventId,
    /// The key that `rollout` had before.
    id: EventId,
    #[serde(with = "time::serde::rfc3339")]
    began: OffsetDateTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<By>,
    /// The outcome; none while it is open.
    pub(super) end: Option<End>,
    pub(super) outcome: Option<String>,
    taken_back: bool,
    /// In percent.
    wait_for: Share,
    timeout_seconds: Option<u64>,
    pub(super) waves: Vec<Vec<MemberView>>,
}

/// One gateway of it.
#[derive(Clone, PartialEq, Serialize)]
pub(in crate::cli) struct MemberView {
    pub(in crate::cli) gateway: GatewayName,
    gateway_id: GatewayId,
    /// Number of the generation; none if it is gone.
    generation: Option<u64>,
    #[serde(flatten)]
    pub(in crate::cli) standing: Standing,
    /// The rollout goes on without it.
    left_out: bool,
    /// The last stage of the last boot of the generation.
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<String>,
}

impl MemberView {
    pub(in crate::cli) fn id(&self) -> &GatewayId {
        &self.gateway_id
    }

    /// Reads one gateway; `seen` is what the rollout sees of it.
    pub(in crate::cli) fn read(state: &State, member: &Member, seen: Option<&Seen>) -> Self {
        let history = seen.map(|seen| &seen.history);
        let generation = history.and_then(|history| history.by_id(member.generation));
        let generation = generation.map(|generation| generation.number);
        let last = generation.zip(history).and_then(|(number, history)| last_boot(history, number));
        let stage = last.and_then(|boot| {
            // It is for people, and may miss lines.
            let journal = Journals::new(state).read(&member.id).unwrap_or_default();
            let entry = journal.iter().rev().find(|entry| entry.boot == Some(boot));
            entry.map(|entry| short(&entry.stage))
        });
        Self {
            gateway: member.gateway.clone(),
            gateway_id: member.id.clone(),
            generation,
            standing: standing(member, seen),
            left_out: false,
            stage,
        }
    }
}

fn last_boot(history: &History, generation: u64) -> Option<EventId> {
    let boots = history.boots().iter();
    boots.rev().find(|(_, boot)| boot.generation == generation).map(|(id, _)| *id)
}

impl View {
    pub(super) fn read(state: &State, id: EventId, stored: StoredRollout) -> Result<Self> {
        let fleet = rollouts::fleet(state, &stored.rollout)?;
        let member = |member: &Member| MemberView {
            left_out: stored.rollout.left_out.contains(&member.id),
            ..MemberView::read(state, member, fleet.get(&member.id))
        };
        let waves = stored.rollout.waves.iter();
        Ok(Self {
            rollout: id,
            id,
            began: stored.began,
            end: stored.end(),
            taken_back: stored.taken_back,
            wait_for: stored.rollout.rules.wait_for,
            timeout_seconds: stored.rollout.rules.timeout.map(|limit| limit.as_secs()),
            waves: waves.map(|wave| wave.iter().map(member).collect()).collect(),
            by: stored.by,
            outcome: stored.outcome,
        })
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &MemberView> {
        self.waves.iter().flatten()
    }
}

/// The progress of a gateway, in words.
impl fmt::Display for MemberView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = |f: &mut fmt::Formatter<'_>| match &self.stage {
            Some(stage) => write!(f, ": {stage}"),
            None => Ok(()),
        };
        match self.standing {
            Standing::Waiting => f.write_str("its wave has not begun"),
            Standing::Trying { since, boots } => {
                match since {
                    Some(since) => write!(f, "waits since {}", moment(since))?,
                    None => f.write_str("waits")?,
                }
                match boots {
                    0 => f.write_str(", has not booted"),
                    1 => f.write_str(", 1 boot").and_then(|()| stage(f)),
                    boots => write!(f, ", {boots} boots").and_then(|()| stage(f)),
                }
            }
            Standing::Good => f.write_str("acknowledged"),
            Standing::Unassessed => f.write_str("live; its system never acknowledges"),
            Standing::Bad { boots } => {
                write!(f, "failed: {boots} boots, none acknowledged")?;
                stage(f)
            }
            Standing::Away(away) => write!(f, "out of it: {away}"),
        }?;
        if self.left_out { f.write_str(" (left out)") } else { Ok(()) }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rollout {}, begun {}", self.rollout.short(), moment(self.began))?;
        if let Some(by) = &self.by {
            write!(f, " by {}", by.author)?;
            if let Some(message) = &by.message {
                write!(f, ": {message}")?;
            }
        }
        write!(f, "\n{}", self.outcome.as_deref().unwrap_or("under way"))?;
        if self.taken_back {
            write!(f, ", and taken back")?;
        }
        if !self.wait_for.is_all() {
            write!(f, "\na wave is over when {} of it work", self.wait_for)?;
        }
        if let Some(seconds) = self.timeout_seconds {
            write!(f, "\nit stops when a wave takes longer than {}", period(seconds))?;
        }
        let width = self.members().map(|member| member.gateway.as_str().len()).max().unwrap_or(0);
        for (number, wave) in self.waves.iter().enumerate() {
            let good = wave.iter().filter(|member| member.standing == Standing::Good).count();
            write!(f, "\n\nwave {}: {good} of {} acknowledged", number + 1, wave.len())?;
            for member in wave {
                write!(f, "\n  {:<width$}  {member}", member.gateway.as_str())?;
            }
        }
        Ok(())
    }
}

fn period(seconds: u64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let whole = units.iter().find(|(unit, _)| seconds != 0 && seconds.is_multiple_of(*unit));
    let (unit, name) = whole.unwrap_or(&(1, "s"));
    format!("{}{name}", seconds / unit)
}

pub(super) fn moment(at: OffsetDateTime) -> String {
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}
