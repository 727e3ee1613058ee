//! One gateway of a rollout, and how far it is. Pure.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::fleet::History;
use crate::fleet::Policy;
use crate::identity::GatewayName;

/// A gateway of a wave, and the generation that was published for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Member {
    pub gateway: GatewayName,
    pub id: GatewayId,
    /// The event that published the generation.
    pub generation: EventId,
}

/// A gateway as a rollout sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub history: Arc<History>,
    pub policy: Policy,
    /// All its certificates are revoked: it cannot boot.
    pub revoked: bool,
}

/// Progress of one gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "standing", rename_all = "snake_case")]
pub enum Standing {
    /// Its wave has not begun.
    Waiting,
    /// The generation is live, and no boot of it was acknowledged yet.
    Trying {
        /// The time when it went live.
        #[serde(with = "time::serde::rfc3339::option")]
        since: Option<OffsetDateTime>,
        /// Boots since.
        boots: u32,
    },
    /// A boot was acknowledged.
    Good,
    /// The generation is live; the gateway's system never acknowledges.
    Unassessed,
    /// The generation used up its tries.
    Bad {
        /// Boots since it went live.
        boots: u32,
    },
    /// It has nothing more to say about the generation.
    Away(Away),
}

/// The reason for a gateway to have nothing more to say about a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Away {
    /// It was removed.
    Removed,
    /// All its certificates are revoked.
    Revoked,
    /// Another generation is pinned.
    Pinned,
    /// A newer generation was activated.
    Newer,
    /// The generation was live, and somebody went back to an earlier one.
    WentBack,
}

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Removed => "it was removed",
            Self::Revoked => "all its certificates are revoked",
            Self::Pinned => "another generation is pinned",
            Self::Newer => "another generation was activated for it",
            Self::WentBack => "somebody went back to an earlier generation",
        })
    }
}

/// Says how far `member` is; `seen` is `None` for a removed gateway.
pub fn standing(member: &Member, seen: Option<&Seen>) -> Standing {
    let Some(Seen { history, policy, revoked }) = seen else {
        return Standing::Away(Away::Removed);
    };
    let Some(published) = history.by_id(member.generation) else {
        return Standing::Away(Away::Removed);
    };
    let trial = history.trial(published.number);
    let pinned = history.pinned().is_some_and(|pinned| pinned.id != published.id);
    match history.current() {
        Some(current) if current.id == published.id => match policy {
            _ if trial.is_good() => Standing::Good,
            _ if *revoked => Standing::Away(Away::Revoked),
            _ if pinned => Standing::Away(Away::Pinned),
            Policy::None => Standing::Unassessed,
            Policy::Tries(tries) if trial.tries >= tries.get() => {
                Standing::Bad { boots: trial.tries }
            }
            Policy::Tries(_) => {
                let since = trial.live_since().map(EventId::time);
                Standing::Trying { since, boots: trial.tries }
            }
        },
        Some(current) if current.number > published.number => match trial.is_good() {
            true => Standing::Good,
            false => Standing::Away(Away::Newer),
        },
        _ if history.was_activated(published.number) => Standing::Away(Away::WentBack),
        _ => Standing::Waiting,
    }
}
