use std::fmt;

use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

use crate::identity::GatewayName;
use crate::store::events::EventId;

/// Version of the files that this program writes.
pub(super) const FORMAT: u32 = 1;

/// Keys that were given up and are remembered.
const MOST_GIVEN_UP: usize = 32;

/// Boots that are remembered for one key: as many as a gateway's history remembers.
const MOST_BOOTS: usize = 64;

/// Everything that this boot host knows of one gateway's bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stored {
    /// [`FORMAT`] of the program that wrote it.
    pub(super) format: u32,
    /// Whose it is, or was.
    pub gateway: GatewayName,
    /// The provider that has it, as in the configuration.
    pub provider: Option<String>,
    /// The bucket, once it is known to be there.
    pub bucket: Option<Bucket>,
    /// Keys of this boot host, oldest first. The last one is handed out.
    pub keys: Vec<Key>,
    /// Name of a key that is being made. If nothing more is known of it later, it may be at
    /// the provider, and its secret is lost.
    pub making: Option<String>,
    /// Names of the latest keys whose making was cut off. The provider may still make such a
    /// key after it was looked for in vain; nobody has its secret.
    #[serde(default)]
    pub given_up: Vec<String>,
    /// An operator wants another key.
    pub rotate: Option<Rotate>,
    /// An operator wants this bucket for it.
    pub adopt: Option<String>,
    /// When the provider was last asked whether all is still there.
    #[serde(with = "time::serde::rfc3339::option")]
    pub checked: Option<OffsetDateTime>,
    /// Why it is not as it should be.
    pub trouble: Option<Trouble>,
}

/// A bucket at the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// What the provider calls it.
    pub id: String,
    /// S3 address that gateways find it at.
    pub endpoint: String,
    /// Region of that address.
    pub region: Option<String>,
    /// Most bytes that the provider takes.
    pub quota: Option<u64>,
}

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
    fn covers(self, boot: EventId) -> bool {
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

/// How a key makes place for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rotate {
    /// It stays good until the gateway has booted with the new one.
    Overlap,
    /// It is deleted at once.
    Now,
}

/// A text that logs and error messages never show.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` secret.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for whoever may have it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// What went wrong last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Trouble {
    /// The error.
    pub error: String,
    /// Failures in a row.
    pub attempts: u32,
    /// The latest of them.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// No earlier than this it is tried again.
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
}

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
    /// What is known of a gateway that nothing was done for yet.
    pub fn new(gateway: GatewayName) -> Self {
        Self {
            format: FORMAT,
            gateway,
            provider: None,
            bucket: None,
            keys: Vec::new(),
            making: None,
            given_up: Vec::new(),
            rotate: None,
            adopt: None,
            checked: None,
            trouble: None,
        }
    }

    /// The key that boots are given.
    pub fn active(&self) -> Option<&Key> {
        self.keys.last().filter(|key| key.state == KeyState::Active && key.secret.is_some())
    }

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

    /// The bucket was found or made.
    pub fn found(&mut self, provider: &str, bucket: Bucket) {
        self.provider = Some(provider.to_owned());
        if self.adopt.as_ref() == Some(&bucket.name) {
            self.adopt = None;
        }
        // Keys open the bucket that they were made for, and no other.
        if self.keys.iter().any(|key| key.bucket != bucket.name) && self.rotate.is_none() {
            self.rotate = Some(Rotate::Overlap);
        }
        self.bucket = Some(bucket);
    }

    /// A new key was made.
    pub fn made(&mut self, id: String, secret: Secret, name: String, now: OffsetDateTime) {
        let how = self.rotate.take();
        for key in &mut self.keys {
            key.state = match (key.state, how) {
                (KeyState::Active, Some(Rotate::Now)) => KeyState::Revoked,
                (KeyState::Retiring, Some(Rotate::Now)) => KeyState::Revoked,
                (KeyState::Active, _) => KeyState::Retiring,
                (state, _) => state,
            };
        }
        self.making = None;
        self.keys.push(Key {
            id,
            secret: Some(secret),
            name,
            bucket: self.bucket.as_ref().map_or_else(String::new, |bucket| bucket.name.clone()),
            state: KeyState::Active,
            made: now,
            delivered: false,
            since: Since::Unknown,
            boots: Vec::new(),
        });
    }

    /// What is left of an attempt to make a key of this name was deleted, as far as it is there.
    pub fn gave_up(&mut self, name: &str) {
        if self.making.as_deref() == Some(name) {
            self.making = None;
        }
        self.given_up.push(name.to_owned());
        let surplus = self.given_up.len().saturating_sub(MOST_GIVEN_UP);
        self.given_up.drain(..surplus);
    }

    /// The last boot that may have begun before the newest key was there. It must have been
    /// looked up when that key was on disk already.
    pub fn settled(&mut self, key_id: &str, last_boot: Option<EventId>) {
        if let Some(key) = self.keys.iter_mut().find(|key| key.id == key_id) {
            key.since = last_boot.map_or(Since::First, Since::After);
        }
    }

    /// A key is gone from the provider.
    pub fn deleted(&mut self, key_id: &str) {
        self.keys.retain(|key| key.id != key_id);
    }

    /// What the provider has: `present` are id and name of this host's keys for the gateway.
    pub fn checked(&mut self, present: &[(String, String)], now: OffsetDateTime) {
        self.checked = Some(now);
        // Expired, or deleted by somebody: they are replaced.
        self.keys.retain(|key| present.iter().any(|(id, _)| *id == key.id));
        let known = |id: &str| self.keys.iter().any(|key| key.id == id);
        let lost = |name: &String| self.given_up.contains(name);
        // This state is older than the provider's, from a backup perhaps. The gateway may
        // be running with what it was given since: that stays good until it boots anew.
        let unknown: Vec<_> = present
            .iter()
            .filter(|(id, name)| !known(id) && self.making.as_ref() != Some(name))
            .map(|(id, name)| Key {
                id: id.clone(),
                secret: None,
                name: name.clone(),
                bucket: String::new(),
                state: if lost(name) { KeyState::Revoked } else { KeyState::Retiring },
                made: now,
                delivered: !lost(name),
                since: Since::Unknown,
                boots: Vec::new(),
            })
            .collect();
        if unknown.iter().any(|key| key.delivered)
            && let Some(last) = self.keys.last_mut()
        {
            (last.since, last.boots) = (Since::Unknown, Vec::new());
        }
        self.keys.splice(0..0, unknown);
    }

    /// Whether handing the active key to `boot` is to be recorded first.
    pub(super) fn must_record(&self, boot: Option<EventId>) -> bool {
        let Some(key) = self.active() else { return false };
        let counts = |boot| key.since.covers(boot) && !key.boots.contains(&boot);
        !key.delivered || (self.keys.len() > 1 && boot.is_some_and(counts))
    }

    /// The active key is handed to `boot`.
    pub(super) fn record(&mut self, boot: Option<EventId>) {
        if !self.must_record(boot) {
            return;
        }
        let Some(key) = self.keys.last_mut() else { return };
        key.delivered = true;
        key.boots.extend(boot.filter(|boot| key.since.covers(*boot)));
        let surplus = key.boots.len().saturating_sub(MOST_BOOTS);
        key.boots.drain(..surplus);
    }
}
