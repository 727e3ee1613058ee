//! What is to be done next for one gateway. Pure.

use time::Duration;
use time::OffsetDateTime;

use super::stored::KeyState;
use super::stored::Since;
use super::stored::Stored;
use crate::backoff::Backoff;
use crate::backoff::LONGEST_RETRY_AFTER;
use crate::fleet::EventId;

/// Waits between attempts at one gateway's bucket.
pub(super) const RETRY: Backoff =
    Backoff::new(std::time::Duration::from_secs(10), LONGEST_RETRY_AFTER);

/// How often the provider is asked whether all is still there.
const CHECK: Duration = Duration::hours(6);

/// What the plan depends on besides what is on disk.
pub(super) struct Situation<'a> {
    /// Whether the gateway is still there.
    pub(super) wanted: bool,
    /// S3 address and region that the configuration tells gateways.
    pub(super) endpoint: Option<(&'a str, Option<&'a str>)>,
    /// Most bytes in its bucket.
    pub(super) quota: Option<u64>,
    /// Whether the system that was booted has said that it works.
    pub(super) acknowledged: &'a dyn Fn(EventId) -> bool,
    /// Now.
    pub(super) now: OffsetDateTime,
    /// Whether an operator wants to know that all is there.
    pub(super) check: bool,
}

/// One step. Everything else follows from what it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// All is as it should be.
    Nothing,
    /// Nothing was ever done for a gateway that is gone.
    Forget,
    /// An attempt to make this key was cut off: delete whatever has its name.
    ClearKey(String),
    /// Find its bucket, or make it.
    FindBucket,
    /// Tell gateways another address of the same bucket.
    TellEndpoint,
    /// Set the bucket's quota.
    SetQuota,
    /// Make a key.
    MakeKey,
    /// Look up the gateway's last boot, now that the key is on disk.
    Settle(String),
    /// Delete this key.
    DeleteKey(String),
    /// Ask the provider whether all is there.
    Check,
}

impl Step {
    /// Whether the provider has to be asked for it.
    pub(super) fn is_remote(&self) -> bool {
        !matches!(self, Self::Nothing | Self::Forget | Self::TellEndpoint | Self::Settle(_))
    }
}

/// What to do next.
pub(super) fn next(stored: &Stored, situation: &Situation<'_>) -> Step {
    if let Some(name) = &stored.making {
        return Step::ClearKey(name.clone());
    }
    if !situation.wanted {
        return match stored.keys.first() {
            Some(key) => Step::DeleteKey(key.id.clone()),
            None if stored.bucket.is_none() => Step::Forget,
            None => Step::Nothing,
        };
    }
    let Some(bucket) = stored.bucket.as_ref().filter(|_| stored.adopt.is_none()) else {
        return Step::FindBucket;
    };
    if let Some((endpoint, region)) = situation.endpoint
        && (bucket.endpoint != endpoint || (region.is_some() && bucket.region.as_deref() != region))
    {
        return Step::TellEndpoint;
    }
    if bucket.quota != situation.quota {
        return Step::SetQuota;
    }
    let Some(active) = stored.active().filter(|_| stored.rotate.is_none()) else {
        return Step::MakeKey;
    };
    if active.since == Since::Unknown {
        return Step::Settle(active.id.clone());
    }
    if let Some(id) = superfluous(stored, situation.acknowledged) {
        return Step::DeleteKey(id);
    }
    let age = |checked| situation.now - checked;
    // A time in the future says nothing: the clock was set back.
    let fresh = stored.checked.map(age).is_some_and(|age| (Duration::ZERO..CHECK).contains(&age));
    if situation.check || !fresh { Step::Check } else { Step::Nothing }
}

/// A key that the gateway cannot need any more: nobody was given it, or a boot that was given
/// a later one is known to work.
fn superfluous(stored: &Stored, acknowledged: &dyn Fn(EventId) -> bool) -> Option<String> {
    let older = stored.keys.len().saturating_sub(1);
    let works_later = |from: usize| {
        let mut boots = stored.keys[from..].iter().flat_map(|key| &key.boots);
        boots.any(|boot| acknowledged(*boot))
    };
    let mut keys = stored.keys[..older].iter().enumerate();
    let found = keys
        .find(|(at, key)| key.state == KeyState::Revoked || !key.delivered || works_later(at + 1));
    found.map(|(_, key)| key.id.clone())
}

/// Whether it is time to try again. A time further away than any wait is the work of a clock.
pub(super) fn is_due(stored: &Stored, now: OffsetDateTime) -> bool {
    let Some(trouble) = &stored.trouble else { return true };
    let wait = trouble.not_before - now;
    !wait.is_positive() || wait > LONGEST_RETRY_AFTER
}

#[cfg(test)]
mod tests;
