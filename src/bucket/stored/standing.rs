//! The condition of a bucket in one word. Pure.

use std::fmt;

use serde::Serialize;

use super::state::Stored;

/// The condition of a gateway's bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Everything is in order.
    Ready,
    /// A new key is or will be handed out; the old one is still valid.
    Rotating,
    /// Nothing to hand out yet.
    Waiting,
    /// The last attempt failed, and nothing can be handed out.
    Failed,
    /// The last attempt failed; earlier values are handed out.
    Stale,
    /// The gateway was removed; its keys still exist.
    Revoking,
    /// The gateway and its keys were removed; the bucket and its data remain.
    Left,
}

impl Standing {
    pub const ALL: [Self; 7] = [
        Self::Ready,
        Self::Rotating,
        Self::Waiting,
        Self::Failed,
        Self::Stale,
        Self::Revoking,
        Self::Left,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Rotating => "rotating",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::Stale => "stale",
            Self::Revoking => "revoking",
            Self::Left => "left",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Stored {
    /// The condition; `wanted` says whether the gateway still exists.
    pub fn standing(&self, wanted: bool) -> Standing {
        match (wanted, self.active(), &self.trouble) {
            (false, ..) if self.keys.is_empty() && self.making.is_none() => Standing::Left,
            (false, ..) => Standing::Revoking,
            (true, Some(_), Some(_)) => Standing::Stale,
            (true, None, Some(_)) => Standing::Failed,
            (true, None, None) => Standing::Waiting,
            (true, Some(_), None) if self.keys.len() > 1 || self.rotate.is_some() => {
                Standing::Rotating
            }
            (true, Some(_), None) => Standing::Ready,
        }
    }
}
