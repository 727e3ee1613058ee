//! The way back after a rollout that went wrong. Pure.

use std::sync::Arc;

use super::member::Member;
use super::member::Seen;
use crate::fleet::Generation;
use crate::fleet::Policy;

/// The generation that a gateway gets back when its rollout is taken back: the one that was live
/// before if that works, or else the last one that works, or else the one that was live before.
/// `None` if it has no other, or did not get the rollout's, or has got another one since.
pub fn back<'a>(member: &Member, seen: &'a Seen) -> Option<&'a Arc<Generation>> {
    let Seen { history, policy, .. } = seen;
    let current = history.current().filter(|current| current.id == member.generation)?;
    let before = history.live_before(current.number);
    let works = |generation: &&Arc<Generation>| match policy {
        Policy::None => true,
        Policy::Tries(_) => history.trial(generation.number).is_good(),
    };
    before.filter(works).or_else(|| history.last_good_but(current.number)).or(before)
}
