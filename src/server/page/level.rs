//! The urgency of something, and its reason. Pure.

use serde::Serialize;

/// Urgency, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::server) enum Level {
    /// It does not work, and does not mend itself.
    Bad,
    /// It works, but somebody should look.
    Warn,
    /// It is booting, or its generation is on trial.
    Busy,
    /// Not in use: revoked, nothing published, or never booted.
    Idle,
    /// All is well.
    Good,
}

impl Level {
    pub(in crate::server) const ALL: [Self; 5] =
        [Self::Bad, Self::Warn, Self::Busy, Self::Idle, Self::Good];

    /// The name in addresses and class names.
    pub(in crate::server) fn as_str(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Warn => "warn",
            Self::Busy => "busy",
            Self::Idle => "idle",
            Self::Good => "good",
        }
    }

    /// The name for people.
    pub(in crate::server) fn title(self) -> &'static str {
        match self {
            Self::Bad => "broken",
            Self::Warn => "to look at",
            Self::Busy => "in progress",
            Self::Idle => "idle",
            Self::Good => "fine",
        }
    }

    /// A sign beside the word, so that nobody has to tell colours apart.
    pub(in crate::server) fn sign(self) -> &'static str {
        match self {
            Self::Bad => "✕",
            Self::Warn => "!",
            Self::Busy => "▸",
            Self::Idle => "–",
            Self::Good => "✓",
        }
    }

    pub(in crate::server) fn is_problem(self) -> bool {
        matches!(self, Self::Bad | Self::Warn)
    }
}

/// One thing to say about a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in crate::server) struct Finding {
    pub(in crate::server) level: Level,
    /// One or two words.
    pub(in crate::server) word: &'static str,
    /// The rest of the sentence; may be empty.
    pub(in crate::server) text: String,
}
