//! Revisions of gateways' records, `STATE/store/records/ID/REVISION.json`: merges those of all
//! hosts and applies the result to the record of this one.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use time::OffsetDateTime;

use super::State;
use super::files;
use super::generations::Generations;
use super::lock::StateLock;
use super::objects;
use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::fleet::Record;
use crate::fleet::Revision;
use crate::fleet::format;
use crate::fleet::revision::FORMAT;
use crate::fleet::unix_millis;
use crate::identity::Fingerprint;

/// Revisions of one record by name.
pub type Revisions = BTreeMap<EventId, Revision>;

/// The revisions on this host's disk.
#[derive(Clone, Debug)]
pub struct Records {
    state: State,
    dir: PathBuf,
}

/// All records on this host's disk, and the names of their revisions.
#[derive(Debug, Default)]
pub struct LocalRecords {
    /// By gateway, including removed ones.
    pub gateways: BTreeMap<GatewayId, LocalRecord>,
    /// Errors of records that could not be read.
    pub damaged: Vec<anyhow::Error>,
}

/// One record on this host's disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalRecord {
    /// The record in force here; `None` if the gateway was removed, or is not known yet.
    pub record: Option<Record>,
    /// Names of its revisions.
    pub revisions: BTreeSet<EventId>,
    /// True if a gateway without a record has events. A boot that runs while its gateway is removed
    /// leaves some.
    pub left_over: bool,
}

/// The merge of all revisions of a record.
#[derive(Clone, Debug)]
pub struct Merged {
    /// The name of the revision that equals the merge.
    pub name: EventId,
    /// The revision itself.
    pub revision: Revision,
    /// The record that it describes; `None` if the gateway was removed.
    pub record: Option<Record>,
    /// Revisions that add nothing to it.
    pub superseded: BTreeSet<EventId>,
    /// True if the record of this host changed.
    pub changed: bool,
}

/// Parses a revision; `place` is where it was found, for the error.
pub fn parse(place: &dyn std::fmt::Display, text: &[u8]) -> Result<Revision> {
    let damaged = || format!("{place} is damaged");
    let revision: Revision = format::read(place, text, FORMAT, &damaged)?;
    revision.record().with_context(damaged)?;
    ensure!(
        revision.is_sound(),
        "{place} is damaged: a certificate in it does not have its fingerprint"
    );
    Ok(revision)
}

impl Records {
    /// The revisions in `state`.
    pub fn new(state: &State) -> Self {
        Self { dir: state.store_dir().join("records"), state: state.clone() }
    }

    /// Reads the records in force, and lists the revisions of all.
    pub fn local(&self) -> Result<LocalRecords> {
        let mut local = LocalRecords::default();
        let (gateways, generations) = (self.state.gateways(), Generations::new(&self.state));
        for name in gateways.names()? {
            match gateways.load(&name) {
                Ok(record) => {
                    let id = record.id.clone();
                    local.gateways.entry(id).or_default().record = Some(record);
                }
                Err(error) => local.damaged.push(error),
            }
        }
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(local),
            entries => entries.with_context(|| format!("cannot read {}", self.dir.display()))?,
        };
        for entry in entries {
            let name = entry?.file_name();
            let Some(id) = name.to_str().and_then(|id| id.parse::<GatewayId>().ok()) else {
                continue;
            };
            let listed = self.names(&id);
            let local_record = local.gateways.entry(id.clone()).or_default();
            match listed {
                Ok(revisions) => local_record.revisions = revisions,
                Err(error) => local.damaged.push(error),
            }
            if local_record.record.is_none() {
                local_record.left_over = generations.has_folder(&id);
            }
        }
        Ok(local)
    }

    /// Lists the revisions of one record.
    fn names(&self, id: &GatewayId) -> Result<BTreeSet<EventId>> {
        objects::ids(&self.dir.join(id))
    }

    /// Reads the revisions of one record. An unreadable one is an error: it may say that a
    /// certificate was revoked.
    pub fn read(&self, id: &GatewayId) -> Result<Revisions> {
        let dir = self.dir.join(id);
        let mut revisions = Revisions::new();
        for name in self.names(id)? {
            let path = dir.join(format!("{name}.json"));
            let text =
                files::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            revisions.insert(name, parse(&path.display(), &text)?);
        }
        Ok(revisions)
    }

    /// Merges the record of this host and its revisions with those of `others`, and applies the
    /// result to the record; `None` if there is nothing to merge.
    pub fn merge_and_apply(
        &self,
        id: &GatewayId,
        others: &Revisions,
        now: OffsetDateTime,
    ) -> Result<Option<Merged>> {
        let lock = self.state.lock()?;
        let ours = self.read(id)?;
        let here = self.here(id)?;
        let mut all = ours.clone();
        all.extend(others.iter().map(|(name, revision)| (*name, revision.clone())));
        let latest = all.keys().next_back().copied();
        let next = EventId::after(latest, unix_millis(now));

        let base = Revision::fold(ours.values());
        let change =
            here.as_ref().map(|here| self.change(here, base.as_ref(), next)).transpose()?;
        let Some(merge) = Revision::fold(all.values().chain(&change)) else { return Ok(None) };
        // Reuse a revision that already equals the merge, or hosts would write forever.
        let name = all.iter().rfind(|(_, revision)| **revision == merge);
        let name = name.map_or(next, |(name, _)| *name);

        let record = merge.record()?;
        let changed = self.apply(&lock, id, &merge, &record, here.as_ref(), now)?;
        let dir = self.dir.join(id);
        if !ours.contains_key(&name) {
            self.write(id, name, &merge)?;
        }
        let superseded: BTreeSet<_> = all.into_keys().filter(|other| *other != name).collect();
        for other in &superseded {
            files::remove_if_there(&dir.join(format!("{other}.json")))?;
        }
        let record = Some(record).filter(|_| !merge.removed);
        Ok(Some(Merged { name, revision: merge, record, superseded, changed }))
    }

    /// Writes a tombstone: a revision that tells all hosts that a gateway was removed. The caller
    /// holds the state's lock.
    pub(super) fn write_tombstone(&self, record: &Record, now: OffsetDateTime) -> Result<()> {
        let ours = self.read(&record.id)?;
        if ours.is_empty() && self.state.config().store.url.is_none() {
            return Ok(());
        }
        let name = EventId::after(ours.keys().next_back().copied(), unix_millis(now));
        let base = Revision::fold(ours.values());
        let mut tombstone = self.change(record, base.as_ref(), name)?;
        tombstone.removed = true;
        let merge = Revision::fold(ours.values().chain([&tombstone]));
        self.write(&record.id, name, &merge.unwrap_or(tombstone))
    }

    /// The record of the gateway with this id, if it is in force here.
    fn here(&self, id: &GatewayId) -> Result<Option<Record>> {
        self.state.gateways().find_by_id(id)
    }

    /// The revision that describes the record of this host. Its settings count as changed now if
    /// they differ from `base`, the merge of the revisions that this host wrote or applied.
    fn change(&self, here: &Record, base: Option<&Revision>, next: EventId) -> Result<Revision> {
        let gateways = self.state.gateways();
        let mut pems = BTreeMap::new();
        for owned in &here.certificates {
            pems.insert(owned.fingerprint, gateways.certificate_pem(here, &owned.fingerprint)?);
        }
        let mut revision = Revision::of(here, &pems, next)?;
        let Some(base) = base else {
            // The first revision: any change that another host made is later.
            revision.settings_of = EventId::after(None, unix_millis(here.added));
            return Ok(revision);
        };
        let known = Revision::of(&base.record()?, &pems, next)?.settings;
        if known == revision.settings {
            revision.settings_of = base.settings_of;
        }
        // Settings that only a newer version knows are kept, and are not a change of this host.
        let foreign = base.settings.iter().filter(|(key, _)| !known.contains_key(*key));
        revision.settings.extend(foreign.map(|(key, value)| (key.clone(), value.clone())));
        Ok(revision)
    }

    /// Applies a merge, which describes `record`, and says whether that changed anything.
    fn apply(
        &self,
        lock: &StateLock,
        id: &GatewayId,
        merge: &Revision,
        record: &Record,
        here: Option<&Record>,
        now: OffsetDateTime,
    ) -> Result<bool> {
        let gateways = self.state.gateways();
        ensure!(record.id == *id, "the record of {id} says that it is that of {}", record.id);
        if merge.removed {
            self.state.mend_crl(lock, record, now)?;
            if let Some(here) = here {
                gateways.remove(lock, here)?;
            }
            Generations::new(&self.state).remove(id)?;
            return Ok(here.is_some());
        }
        if here == Some(record) {
            return Ok(false);
        }
        let pems: BTreeMap<Fingerprint, &str> =
            merge.certificates.iter().map(|(fp, shared)| (*fp, shared.pem.as_str())).collect();
        gateways.adopt(lock, record, &pems)?;
        self.state.mend_crl(lock, record, now)?;
        Ok(true)
    }

    fn write(&self, id: &GatewayId, name: EventId, revision: &Revision) -> Result<()> {
        files::create_dir(&self.dir, 0o700)?;
        let dir = self.dir.join(id);
        files::create_dir(&dir, 0o700)?;
        files::replace(&dir.join(format!("{name}.json")), 0o600, |file| {
            serde_json::to_writer(&mut *file, revision)?;
            file.write_all(b"\n")
        })
    }
}
