//! The time at which a file in the shared store may be deleted, though hosts publish at any moment
//! and there are no locks: rules about ages. Pure. docs/store.md has the argument.
//!
//! All ages are by the clock of the store, and all spans by a clock that only goes forward, so the
//! clocks of the hosts do not matter.

use std::time::Duration;

/// Files this old may be deleted, if no kept generation names them.
const GRACE: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// Longest time from the listing of old files to the last deletion.
const DEADLINE: Duration = Duration::from_secs(10 * 60);

/// The rules, with the spans that they follow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ages {
    pub(super) grace: Duration,
    pub(super) deadline: Duration,
}

impl Default for Ages {
    fn default() -> Self {
        Self { grace: GRACE, deadline: DEADLINE }
    }
}

impl Ages {
    /// Says whether a file of this age may be deleted.
    pub(super) fn is_old(&self, age: Duration) -> bool {
        age > self.grace
    }

    /// Says whether a publisher can rely on a file of this age. Otherwise it sends it again.
    pub(super) fn is_fresh(&self, age: Duration) -> bool {
        age < self.grace / 2
    }

    /// Says whether a look at a file this long ago still counts.
    pub(super) fn still_counts(&self, since: Duration) -> bool {
        since < self.grace / 8
    }

    /// Says whether the event may follow, this long after the first look at its files: they are
    /// not old then, for 1/2 + 1/8 + 1/8 is less than 1.
    pub(super) fn may_publish(&self, since: Duration) -> bool {
        since < self.grace / 8
    }

    /// Says whether files may still be deleted, this long after they were listed. The second half
    /// is for the request that runs.
    pub(super) fn may_delete(&self, since: Duration) -> bool {
        since < self.deadline / 2
    }

    /// Says whether all deletions have ended that began before an event of this age.
    pub(super) fn is_settled(&self, since: Duration) -> bool {
        since >= self.deadline
    }
}

#[cfg(test)]
mod tests;
