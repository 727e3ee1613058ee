//! What a run of the reconciler is asked for, and what came of it. Pure.

use crate::identity::GatewayName;

/// Which buckets are to be reconciled.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Only this gateway's.
    pub only: Option<GatewayName>,
    /// Ignore backoff, and check at the provider what was checked not long ago.
    pub now: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// Gateways whose buckets are not as they should be, with the reason.
    pub failed: Vec<(GatewayName, String)>,
}
