//! Scope and report of a run of the reconciler. Pure.

use std::collections::BTreeSet;

use crate::identity::GatewayName;

/// The buckets to reconcile.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Only those of these gateways.
    pub only: Option<BTreeSet<GatewayName>>,
    /// Ignore backoff, and check at the provider what was checked not long ago.
    pub now: bool,
}

/// The report of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Gateways whose buckets are not in order, with the reason.
    pub failed: Vec<(GatewayName, String)>,
}
