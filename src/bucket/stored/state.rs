//! The file `STATE/buckets/ID.json`, and its change by each event. Pure.

use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

use super::key::Key;
use super::key::KeyState;
use super::key::Since;
use super::secret::Secret;
use crate::fleet::EventId;
use crate::identity::GatewayName;

/// Version of the files that this program writes.
pub(in crate::bucket) const FORMAT: u32 = 1;

/// Most names of given-up keys that are remembered.
const MOST_GIVEN_UP: usize = 32;

/// Most boots that are remembered for one key: as many as a gateway's history remembers.
const MOST_BOOTS: usize = 64;

/// This boot host's knowledge of one gateway's bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stored {
    /// [`FORMAT`] of the program that wrote it.
    pub(in crate::bucket) format: u32,
    /// The gateway, which may have been removed.
    pub gateway: GatewayName,
    /// The provider that has the bucket, by its name in the configuration.
    pub provider: Option<String>,
    /// The bucket, once it is known to exist.
    pub bucket: Option<Bucket>,
    /// Keys that this boot host made, oldest first. The last one is handed out.
    pub keys: Vec<Key>,
    /// Name of a key that is being made. If it is still set later, the provider may have the key,
    /// but its secret is lost.
    pub making: Option<String>,
    /// Names of the latest keys whose creation was cut off. The provider may complete it after we
    /// looked for the key in vain; nobody has its secret.
    #[serde(default)]
    pub given_up: Vec<String>,
    /// An operator asked for another key.
    pub rotate: Option<Rotate>,
    /// An operator named this bucket for the gateway.
    pub adopt: Option<String>,
    /// The time when bucket and keys were last checked at the provider.
    #[serde(with = "time::serde::rfc3339::option")]
    pub checked: Option<OffsetDateTime>,
    /// The last failure, until everything is in order.
    pub trouble: Option<Trouble>,
}

/// A bucket at the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bucket {
    pub name: String,
    /// The provider's own id for it.
    pub id: String,
    /// S3 address for gateways.
    pub endpoint: String,
    /// Region of that address.
    pub region: Option<String>,
    /// Most bytes that the provider allows in it.
    pub quota: Option<u64>,
}

/// Replacement of a key by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rotate {
    /// The old key stays valid until the gateway has booted with the new one.
    Overlap,
    /// The old key is deleted at once.
    Now,
}

/// The last failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Trouble {
    pub error: String,
    /// Failures in a row.
    pub attempts: u32,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The next attempt is not before this.
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
}

impl Stored {
    /// The file of a gateway for which nothing was done yet.
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

    /// The key that boots get.
    pub fn active(&self) -> Option<&Key> {
        self.keys.last().filter(|key| key.state == KeyState::Active && key.secret.is_some())
    }

    /// The bucket was found or made.
    pub fn found(&mut self, provider: &str, bucket: Bucket) {
        self.provider = Some(provider.to_owned());
        if self.adopt.as_ref() == Some(&bucket.name) {
            self.adopt = None;
        }
        // A key opens only the bucket that it was made for.
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

    /// An unfinished key of this name was deleted, if the provider had it.
    pub fn gave_up(&mut self, name: &str) {
        if self.making.as_deref() == Some(name) {
            self.making = None;
        }
        self.given_up.push(name.to_owned());
        let surplus = self.given_up.len().saturating_sub(MOST_GIVEN_UP);
        self.given_up.drain(..surplus);
    }

    /// The last boot that may have begun without the newest key. It must have been looked up after
    /// that key was on disk.
    pub fn settled(&mut self, key_id: &str, last_boot: Option<EventId>) {
        if let Some(key) = self.keys.iter_mut().find(|key| key.id == key_id) {
            key.since = last_boot.map_or(Since::First, Since::After);
        }
    }

    /// A key was deleted at the provider.
    pub fn deleted(&mut self, key_id: &str) {
        self.keys.retain(|key| key.id != key_id);
    }

    /// The result of a check: `present` are id and name of this host's keys for the gateway.
    pub fn checked(&mut self, present: &[(String, String)], now: OffsetDateTime) {
        self.checked = Some(now);
        // Keys that expired or that somebody deleted are replaced.
        self.keys.retain(|key| present.iter().any(|(id, _)| *id == key.id));
        let known = |id: &str| self.keys.iter().any(|key| key.id == id);
        let lost = |name: &String| self.given_up.contains(name);
        // This file is older than the provider's keys, perhaps from a backup. The gateway may be
        // running with a key that it got since, so that one stays valid until the next boot.
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

    /// Says whether the hand-out of the active key to `boot` must be recorded first.
    pub(in crate::bucket) fn must_record(&self, boot: Option<EventId>) -> bool {
        let Some(key) = self.active() else { return false };
        let counts = |boot| key.since.covers(boot) && !key.boots.contains(&boot);
        !key.delivered || (self.keys.len() > 1 && boot.is_some_and(counts))
    }

    /// Records that `boot` gets the active key.
    pub(in crate::bucket) fn record(&mut self, boot: Option<EventId>) {
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
