//! Revisions of gateways' records: `STATE/store/records/ID/REVISION.json`, and how they come to
//! count on this host.

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

/// The revisions that this host has.
#[derive(Clone, Debug)]
pub struct Records {
    state: State,
    dir: PathBuf,
}

/// What a host makes of all revisions that it knows.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The one that says all.
    pub name: EventId,
    /// What it says.
    pub revision: Revision,
    /// Those that say nothing more.
    pub covered: BTreeSet<EventId>,
    /// Whether something came to count on this host that did not before.
    pub changed: bool,
}

/// Reads a revision; `place` is where it was found, for the error.
pub fn parse(place: &dyn std::fmt::Display, text: &[u8]) -> Result<Revision> {
    let damaged = || format!("{place} is damaged");
    let revision: Revision = format::read(place, text, FORMAT, &damaged)?;
    revision.record().with_context(damaged)?;
    ensure!(revision.is_sound(), "{place} is damaged: a certificate in it is another one");
    Ok(revision)
}

impl Records {
    /// The revisions in `state`.
    pub fn new(state: &State) -> Self {
        Self { dir: state.store_dir().join("records"), state: state.clone() }
    }

    /// The ids of all gateways, also of removed ones; and what is wrong with records that
    /// cannot be read.
    pub fn ids(&self) -> Result<(BTreeSet<GatewayId>, Vec<anyhow::Error>)> {
        let (mut ids, mut damaged) = (BTreeSet::new(), Vec::new());
        let gateways = self.state.gateways();
        for name in gateways.names()? {
            match gateways.load(&name) {
                Ok(record) => drop(ids.insert(record.id)),
                Err(error) => damaged.push(error),
            }
        }
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((ids, damaged)),
            entries => entries.with_context(|| format!("cannot read {}", self.dir.display()))?,
        };
        for entry in entries {
            ids.extend(entry?.file_name().into_string().ok().and_then(|id| id.parse().ok()));
        }
        Ok((ids, damaged))
    }

    /// The revisions of one record. An unreadable one is an error: it may say that a
    /// certificate was revoked.
    pub fn read(&self, id: &GatewayId) -> Result<Revisions> {
        let dir = self.dir.join(id);
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Revisions::new()),
            entries => entries.with_context(|| format!("cannot read {}", dir.display()))?,
        };
        let mut revisions = Revisions::new();
        for entry in entries {
            let path = entry?.path();
            let name = path.file_stem().and_then(|stem| EventId::parse(stem.to_str()?));
            let Some(name) = name else { continue };
            let text =
                files::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            revisions.insert(name, parse(&path.display(), &text)?);
        }
        Ok(revisions)
    }

    /// Lays together what this host knows of a record and what `others` wrote, has that count
    /// here, and says what became of it; `None` if nobody knows anything.
    pub fn settle(
        &self,
        id: &GatewayId,
        others: &Revisions,
        now: OffsetDateTime,
    ) -> Result<Option<Settled>> {
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
        let Some(sum) = Revision::fold(all.values().chain(&change)) else { return Ok(None) };
        // Who finds one that says all writes no other: hosts would go on for ever.
        let name = all.iter().rfind(|(_, revision)| **revision == sum);
        let name = name.map_or(next, |(name, _)| *name);

        let changed = self.apply(&lock, id, &sum, here.as_ref(), now)?;
        let dir = self.dir.join(id);
        if !ours.contains_key(&name) {
            self.write(id, name, &sum)?;
        }
        let covered: BTreeSet<_> = all.into_keys().filter(|other| *other != name).collect();
        for other in &covered {
            files::remove_if_there(&dir.join(format!("{other}.json")))?;
        }
        Ok(Some(Settled { name, revision: sum, covered, changed }))
    }

    /// Notes that a gateway is removed, for all hosts. Whoever calls it holds the lock.
    pub(super) fn bury(&self, record: &Record, now: OffsetDateTime) -> Result<()> {
        let ours = self.read(&record.id)?;
        if ours.is_empty() && self.state.config().store.url.is_none() {
            return Ok(());
        }
        let name = EventId::after(ours.keys().next_back().copied(), unix_millis(now));
        let base = Revision::fold(ours.values());
        let mut grave = self.change(record, base.as_ref(), name)?;
        grave.removed = true;
        let sum = Revision::fold(ours.values().chain([&grave]));
        self.write(&record.id, name, &sum.unwrap_or(grave))
    }

    /// The record of this host, if it has one with this id.
    fn here(&self, id: &GatewayId) -> Result<Option<Record>> {
        let Ok(name) = id.name().parse() else { return Ok(None) };
        Ok(self.state.gateways().find(&name)?.filter(|record| record.id == *id))
    }

    /// What the record here says. Its settings count as changed now if they are not those
    /// of the revisions that this host wrote or brought into force.
    fn change(&self, here: &Record, base: Option<&Revision>, next: EventId) -> Result<Revision> {
        let gateways = self.state.gateways();
        let mut pems = BTreeMap::new();
        for owned in &here.certificates {
            pems.insert(owned.fingerprint, gateways.certificate_pem(here, &owned.fingerprint)?);
        }
        let mut said = Revision::of(here, &pems, next)?;
        let Some(base) = base else {
            // Never told of before: any change that somebody made is later.
            said.settings_of = EventId::after(None, unix_millis(here.added));
            return Ok(said);
        };
        let known = Revision::of(&base.record()?, &pems, next)?.settings;
        if known == said.settings {
            said.settings_of = base.settings_of;
        }
        // What a newer program added is not ours to drop, and no change of ours.
        let foreign = base.settings.iter().filter(|(key, _)| !known.contains_key(*key));
        said.settings.extend(foreign.map(|(key, value)| (key.clone(), value.clone())));
        Ok(said)
    }

    /// Has `sum` count on this host. Whether that changed anything.
    fn apply(
        &self,
        lock: &StateLock,
        id: &GatewayId,
        sum: &Revision,
        here: Option<&Record>,
        now: OffsetDateTime,
    ) -> Result<bool> {
        let gateways = self.state.gateways();
        let record = sum.record()?;
        ensure!(record.id == *id, "the record of {id} says that it is that of {}", record.id);
        if sum.removed {
            self.state.mend_crl(lock, &record, now)?;
            if let Some(here) = here {
                gateways.remove(lock, here)?;
            }
            Generations::new(&self.state).remove(id)?;
            return Ok(here.is_some());
        }
        if here == Some(&record) {
            return Ok(false);
        }
        let pems: BTreeMap<Fingerprint, &str> =
            sum.certificates.iter().map(|(fp, shared)| (*fp, shared.pem.as_str())).collect();
        gateways.adopt(lock, &record, &pems)?;
        self.state.mend_crl(lock, &record, now)?;
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
