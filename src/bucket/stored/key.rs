//! A key of a bucket, from its creation to its deletion. Pure.

use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

use super::secret::Secret;
use crate::fleet::EventId;

/// A key that opens one bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Key {
    /// The access key id.
    pub id: String,
    /// Unknown for a key that was found at the provider.
    pub secret: Option<Secret>,
    /// Its name at the provider.
    pub name: String,
    /// Name of the bucket that it opens.
    pub bucket: String,
    pub state: KeyState,
    #[serde(with = "time::serde::rfc3339")]
    pub made: OffsetDateTime,
    /// True once any boot got it.
    pub delivered: bool,
    /// The boot after which the key was in place for all later ones.
    pub since: Since,
    /// Such boots that got this key.
    pub boots: Vec<EventId>,
}

/// The first boot from which a gateway has a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Since {
    /// Not known yet: it must be looked up after the key is on disk.
    Unknown,
    /// From the first boot on.
    First,
    After(EventId),
}

impl Since {
    /// Says whether `boot` began with the key in place.
    pub(super) fn covers(self, boot: EventId) -> bool {
        match self {
            Self::Unknown => false,
            Self::First => true,
            Self::After(last) => boot > last,
        }
    }
}

/// The stage of a key's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// Boots get it.
    Active,
    /// Valid until the gateway is known to have a newer one.
    Retiring,
    /// To be deleted as soon as possible.
    Revoked,
}
