use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

use super::Secret;
use crate::fleet::EventId;

/// A key that opens one bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Key {
    /// The access key's id.
    pub id: String,
    /// Its secret; unknown for a key that turned up at the provider.
    pub secret: Option<Secret>,
    /// What it is called at the provider.
    pub name: String,
    /// The bucket that it opens.
    pub bucket: String,
    /// Where it stands in its life.
    pub state: KeyState,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub made: OffsetDateTime,
    /// Whether any boot was ever given it.
    pub delivered: bool,
    /// Boots later than this one began when the key was already there.
    pub since: Since,
    /// Such boots that were given this key.
    pub boots: Vec<EventId>,
}

/// From which boot on a key counts as what the gateway has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Since {
    /// Not known yet: it is looked up after the key is on disk, never before.
    Unknown,
    /// There was no boot before.
    First,
    /// After this one.
    After(EventId),
}

impl Since {
    /// Whether `boot` began with the key in place.
    pub(super) fn covers(self, boot: EventId) -> bool {
        match self {
            Self::Unknown => false,
            Self::First => true,
            Self::After(last) => boot > last,
        }
    }
}

/// Where a key stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// Boots are given it.
    Active,
    /// Good until the gateway is known to have a newer one.
    Retiring,
    /// To be deleted as soon as can be.
    Revoked,
}
