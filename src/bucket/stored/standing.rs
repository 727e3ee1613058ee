use std::fmt;

use serde::Serialize;

use super::Stored;

/// How a gateway's bucket is doing, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// All is as it should be.
    Ready,
    /// A new key is, or is about to be, handed out; the old one is still good.
    Rotating,
    /// There is nothing to hand out yet.
    Waiting,
    /// The last attempt failed, and there is nothing to hand out.
    Failed,
    /// The last attempt failed; what is there from before is handed out.
    Stale,
    /// The gateway was removed, its keys not yet.
    Revoking,
    /// The gateway was removed with its keys; the bucket and its data stay.
    Left,
}

impl Standing {
    /// All there are.
    pub const ALL: [Self; 7] = [
        Self::Ready,
        Self::Rotating,
        Self::Waiting,
        Self::Failed,
        Self::Stale,
        Self::Revoking,
        Self::Left,
    ];

    /// The word.
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
    /// How it is doing; `wanted` tells whether the gateway is still there.
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
