//! Checks everything that could stop a boot, on this host and on the way to it: disk, network,
//! clock, other programs. Changes nothing, except for one object in the shared store, which it
//! deletes again.
//!
//! Each file checks one thing and knows nothing of the others. A failed check does not stop the
//! others.

mod buckets;
mod clock;
mod files;
mod finding;
mod gateways;
mod pki;
mod reach;
mod service;
mod store;
mod sync;
mod tools;

use std::path::Path;

use time::OffsetDateTime;

pub use finding::Finding;
pub use finding::Findings;
pub use finding::Verdict;

use crate::store::State;

/// Runs all checks. `systemd` is the folder of systemd's credentials.
pub async fn examine(state: &State, systemd: Option<&Path>, now: OffsetDateTime) -> Findings {
    let mut findings = Findings::default();
    files::examine(state, &mut findings);
    clock::examine(state, now, &mut findings).await;
    pki::examine(state, now, &mut findings);
    gateways::examine(state, now, &mut findings);
    let served = service::examine(state.config(), &mut findings).await;
    reach::examine(state, &mut findings).await;
    store::examine(state, systemd, &served, &mut findings).await;
    buckets::examine(state, systemd, &mut findings).await;
    tools::examine(state, &mut findings);
    sync::examine(state, systemd, now, &mut findings).await;
    findings
}
