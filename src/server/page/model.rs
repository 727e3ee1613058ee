//! The view model: what is known of gateways and rollouts, as values. Pure.

use std::collections::BTreeMap;

use serde::Serialize;
use time::Duration;
use time::OffsetDateTime;

use crate::bucket::Condition as Bucket;
use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::fleet::Reason;
use crate::fleet::trail::Line;
use crate::foreign::Foreign;
use crate::store::journal::Stage;

/// The facts about one gateway.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::server) struct Gateway {
    pub(in crate::server) name: String,
    /// `None` if its record cannot be read.
    pub(in crate::server) id: Option<GatewayId>,
    pub(in crate::server) group: Option<String>,
    pub(in crate::server) labels: BTreeMap<String, String>,
    /// The generation of its next boot.
    pub(in crate::server) next: Option<Next>,
    pub(in crate::server) last_boot: Option<LastBoot>,
    /// False if its system never acknowledges.
    pub(in crate::server) assessed: bool,
    pub(in crate::server) certificate: Certificate,
    pub(in crate::server) bucket: Option<BucketState>,
    /// Files of its next boot that are missing here.
    pub(in crate::server) faults: Vec<String>,
    /// The reason if it cannot be read.
    pub(in crate::server) error: Option<String>,
}

/// The generation that the next boot gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct Next {
    pub(in crate::server) generation: u64,
    /// The time when it was last activated.
    pub(in crate::server) since: Option<OffsetDateTime>,
    pub(in crate::server) reason: Reason,
}

/// The last boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct LastBoot {
    pub(in crate::server) id: EventId,
    pub(in crate::server) generation: u64,
    pub(in crate::server) at: OffsetDateTime,
    pub(in crate::server) acknowledged: bool,
    /// The last stage, if it was not acknowledged and the flight recorder has it.
    pub(in crate::server) stage: Option<Stage>,
}

/// The certificate for new media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Certificate {
    /// Valid until then.
    Active(OffsetDateTime),
    /// Every certificate is revoked.
    Revoked,
    /// None is active, but an older one is still valid.
    Retiring,
    /// Unknown.
    Unknown,
}

/// The condition of its bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct BucketState {
    pub(in crate::server) state: &'static str,
    pub(in crate::server) is_well: bool,
    pub(in crate::server) error: Option<String>,
}

impl From<Bucket> for BucketState {
    fn from(bucket: Bucket) -> Self {
        Self { state: bucket.standing.as_str(), is_well: bucket.is_well(), error: bucket.error }
    }
}

/// A rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct Rollout {
    pub(in crate::server) id: EventId,
    pub(in crate::server) began: OffsetDateTime,
    pub(in crate::server) waves: Vec<Vec<Member>>,
    /// The share of a wave that must work, if not all of it.
    pub(in crate::server) wait_for: Option<String>,
    /// The longest wait of a wave.
    pub(in crate::server) timeout: Option<Duration>,
    /// The time when it was last resumed.
    pub(in crate::server) resumed: Option<OffsetDateTime>,
    /// The outcome, if it is closed.
    pub(in crate::server) outcome: Option<String>,
    /// It ended before all its waves, and can be resumed.
    pub(in crate::server) can_resume: bool,
    /// The generations that it had activated were taken back.
    pub(in crate::server) taken_back: bool,
}

/// A gateway of a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct Member {
    pub(in crate::server) gateway: String,
    pub(in crate::server) generation: Option<u64>,
    pub(in crate::server) progress: Progress,
    /// The time when the generation was activated.
    pub(in crate::server) since: Option<OffsetDateTime>,
    /// The rollout goes on without it.
    pub(in crate::server) left_out: bool,
}

/// Progress of a gateway of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::server) enum Progress {
    /// Its wave has not begun.
    Waiting,
    /// Activated, and not acknowledged yet.
    Trying,
    /// Acknowledged.
    Good,
    /// It used up its tries.
    Bad,
    /// Removed, revoked, pinned to another generation, or sent to another one since.
    Elsewhere,
}

/// One gateway, with all that is known.
#[derive(Debug)]
pub(in crate::server) struct Details {
    pub(in crate::server) gateway: Gateway,
    pub(in crate::server) added: Option<OffsetDateTime>,
    pub(in crate::server) certificates: Vec<Owned>,
    /// Latest first.
    pub(in crate::server) boots: Vec<Boot>,
    /// Entries of the journal outside of any boot, latest first.
    pub(in crate::server) other: Vec<Step>,
    /// Latest first.
    pub(in crate::server) generations: Vec<Generation>,
    /// Generations that are not among them.
    pub(in crate::server) older: usize,
    /// Its log, latest first.
    pub(in crate::server) log: Vec<Line>,
}

/// A certificate.
#[derive(Clone, Debug)]
pub(in crate::server) struct Owned {
    pub(in crate::server) fingerprint: String,
    pub(in crate::server) state: &'static str,
    pub(in crate::server) not_after: OffsetDateTime,
}

/// A boot, with the stages that the flight recorder has.
#[derive(Clone, Debug)]
pub(in crate::server) struct Boot {
    pub(in crate::server) generation: u64,
    pub(in crate::server) at: OffsetDateTime,
    pub(in crate::server) acknowledged: bool,
    /// In the order of time.
    pub(in crate::server) steps: Vec<Step>,
    /// The end of its console, if it failed and said so.
    pub(in crate::server) console: Option<String>,
}

/// A line of the flight recorder.
#[derive(Clone, Debug)]
pub(in crate::server) struct Step {
    pub(in crate::server) at: OffsetDateTime,
    pub(in crate::server) address: Foreign,
    pub(in crate::server) stage: Stage,
}

/// A generation.
#[derive(Clone, Debug)]
pub(in crate::server) struct Generation {
    pub(in crate::server) number: u64,
    pub(in crate::server) published: OffsetDateTime,
    /// Its marks: `current`, `pinned`, `last good` ...
    pub(in crate::server) marks: Vec<&'static str>,
    /// Acknowledged, given up, or neither.
    pub(in crate::server) works: Option<bool>,
    pub(in crate::server) files: Vec<File>,
    /// Changes since the one before; `None` for the first.
    pub(in crate::server) changes: Option<Changes>,
}

/// A file of a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct File {
    pub(in crate::server) path: String,
    pub(in crate::server) size: u64,
    /// `None` for a secrets template.
    pub(in crate::server) sha256: Option<String>,
}

/// Changes from one generation to the next.
#[derive(Clone, Debug)]
pub(in crate::server) struct Changes {
    pub(in crate::server) before: u64,
    pub(in crate::server) added: Vec<String>,
    pub(in crate::server) removed: Vec<String>,
    pub(in crate::server) changed: Vec<String>,
    pub(in crate::server) variables: Vec<Variable>,
    pub(in crate::server) script: Script,
}

/// A variable that is not the same in two generations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct Variable {
    pub(in crate::server) name: String,
    /// `None` if it was not set.
    pub(in crate::server) before: Option<Foreign>,
    /// `None` if it is not set any more.
    pub(in crate::server) after: Option<Foreign>,
}

/// The boot script beside the one before.
#[derive(Clone, Debug)]
pub(in crate::server) enum Script {
    Same,
    /// Their texts.
    Texts {
        old: String,
        new: String,
    },
    /// One of them cannot be read.
    Unreadable(String),
}
