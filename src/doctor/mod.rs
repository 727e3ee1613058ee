//! Looks for what would stop a boot, on this host and on the way to it. It changes nothing, but
//! for one object in the common store, which it deletes again.
//!
//! Each file looks at one thing and knows nothing of the others. Whatever is wrong with one
//! thing keeps no other from being looked at.

mod buckets;
mod clock;
mod files;
mod finding;
mod gateways;
mod pki;
mod reach;
mod service;
mod store;
mod tools;

use std::path::Path;

use time::OffsetDateTime;

pub use finding::Finding;
pub use finding::Findings;
pub use finding::Verdict;

use crate::store::State;

/// Looks at everything. `systemd` is the folder of systemd's credentials.
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
    findings
}
