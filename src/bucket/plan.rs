//! The next step for one gateway's bucket. Pure.

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

/// Interval of checking buckets and keys at the provider.
const CHECK: Duration = Duration::hours(6);

/// The inputs of the next step besides the file on disk.
pub(super) struct Situation<'a> {
    /// True if the gateway still exists.
    pub(super) wanted: bool,
    /// S3 address and region for gateways, from the configuration.
    pub(super) endpoint: Option<(&'a str, Option<&'a str>)>,
    /// Most bytes in its bucket.
    pub(super) quota: Option<u64>,
    /// True if a boot was acknowledged.
    pub(super) acknowledged: &'a dyn Fn(EventId) -> bool,
    pub(super) now: OffsetDateTime,
    /// True if an operator asked for a check.
    pub(super) check: bool,
}

/// One step. The following one is planned from its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Everything is in order.
    Nothing,
    /// Remove the file of a removed gateway for which nothing was made.
    Forget,
    /// The creation of this key was cut off: delete any key of its name.
    ClearKey(String),
    /// Find the bucket, or make one.
    FindBucket,
    /// Give gateways another address of the same bucket.
    TellEndpoint,
    SetQuota,
    MakeKey,
    /// Look up the gateway's last boot, after the key is on disk.
    Settle(String),
    DeleteKey(String),
    /// Check bucket and keys at the provider.
    Check,
}

impl Step {
    /// Says whether the step needs the provider.
    pub(super) fn is_remote(&self) -> bool {
        !matches!(self, Self::Nothing | Self::Forget | Self::TellEndpoint | Self::Settle(_))
    }
}

/// The next step.
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
    // A time in the future means nothing: the clock was set back.
    let fresh = stored.checked.map(age).is_some_and(|age| (Duration::ZERO..CHECK).contains(&age));
    if situation.check || !fresh { Step::Check } else { Step::Nothing }
}

/// A key that the gateway cannot need any more: no boot got it, or a boot with a later key was
/// acknowledged.
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

/// Says whether it is time to try again. A time further away than any wait comes from a wrong
/// clock.
pub(super) fn is_due(stored: &Stored, now: OffsetDateTime) -> bool {
    let Some(trouble) = &stored.trouble else { return true };
    let wait = trouble.not_before - now;
    !wait.is_positive() || wait > LONGEST_RETRY_AFTER
}

#[cfg(test)]
mod tests;
