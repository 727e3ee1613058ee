//! Counts of one pass.

use std::ops::AddAssign;

use serde::Serialize;

/// Counts of one pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Report {
    /// Objects that were delivered.
    pub pushed: usize,
    /// Objects that were fetched.
    pub pulled: usize,
    /// Gateways whose record changed here: added, changed, or removed by another host.
    pub records: usize,
    /// Generations that wait for their files.
    pub held_back: usize,
    /// Objects that this program cannot read.
    pub left_out: usize,
    /// Gateways whose events could not be exchanged, because of an error on this host.
    #[serde(skip)]
    pub failed: usize,
}

impl AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.pushed += other.pushed;
        self.pulled += other.pulled;
        self.records += other.records;
        self.held_back += other.held_back;
        self.left_out += other.left_out;
        self.failed += other.failed;
    }
}
