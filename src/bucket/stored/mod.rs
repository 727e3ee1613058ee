mod key;
mod secret;
mod standing;

use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

pub use key::Key;
pub use key::KeyState;
pub(super) use key::Since;
pub use secret::Secret;
pub use standing::Standing;

use crate::fleet::EventId;
use crate::identity::GatewayName;

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

/// How a key makes place for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rotate {
    /// It stays good until the gateway has booted with the new one.
    Overlap,
    /// It is deleted at once.
    Now,
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
