//! The generations whose files this host needs. Pure.

use std::sync::Arc;

use crate::fleet::Generation;
use crate::fleet::History;

/// The generations that the next boots of a gateway may be sent to.
pub(in crate::replica) fn generations_to_keep(
    history: &History,
) -> impl Iterator<Item = &Arc<Generation>> {
    let all = [
        history.current(),
        history.pinned(),
        history.last_good(),
        history.in_use(None),
        history.previous(),
    ];
    all.into_iter().flatten()
}
