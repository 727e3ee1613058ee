//! The view model of the fleet: its gateways, each with what there is to say about it. Pure.

use time::OffsetDateTime;

use super::condition::findings;
use super::level::Finding;
use super::level::Level;
use super::model::Gateway;
use super::model::Rollout;

/// The fleet at one moment.
#[derive(Debug)]
pub(in crate::server) struct Fleet {
    /// Differs when something else has changed than the time.
    pub(in crate::server) version: String,
    pub(in crate::server) at: OffsetDateTime,
    /// All gateways, by name in natural order.
    pub(in crate::server) rows: Vec<Row>,
    /// Messages about the whole boot host, worst first.
    pub(in crate::server) notices: Vec<Notice>,
    /// Open rollouts, latest first.
    pub(in crate::server) rollouts: Vec<Rollout>,
    /// Status of the shared store, if there is one.
    pub(in crate::server) store: Option<String>,
    /// The last sync of the git repository, if there is one.
    pub(in crate::server) sync: Option<Sync>,
}

/// A message about the whole boot host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct Notice {
    pub(in crate::server) level: Level,
    pub(in crate::server) text: String,
}

/// The commit in force, and when the git repository was last looked at with success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct Sync {
    pub(in crate::server) commit: String,
    pub(in crate::server) author: String,
    pub(in crate::server) subject: String,
    pub(in crate::server) at: OffsetDateTime,
}

/// A gateway, and what there is to say about it.
#[derive(Debug)]
pub(in crate::server) struct Row {
    pub(in crate::server) gateway: Gateway,
    /// Worst first, and at least one.
    pub(in crate::server) findings: Vec<Finding>,
}

impl Row {
    pub(in crate::server) fn new(gateway: Gateway, now: OffsetDateTime) -> Self {
        let findings = findings(&gateway, now);
        Self { gateway, findings }
    }

    pub(in crate::server) fn level(&self) -> Level {
        self.findings.first().map_or(Level::Good, |worst| worst.level)
    }

    /// True if a page would show both alike, apart from the time that passed.
    pub(in crate::server) fn is_like(&self, other: &Self) -> bool {
        let words = |row: &Self| row.findings.iter().map(|f| (f.level, f.word)).collect::<Vec<_>>();
        self.gateway == other.gateway && words(self) == words(other)
    }
}
