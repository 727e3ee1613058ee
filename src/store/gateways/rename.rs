//! Gives gateways another name. Writes the disk, under the state's lock.
//!
//! The id, which names the folders of events and buckets, stays. A server that looks at any moment
//! finds the gateway: until its certificates lead to the new folder, the old one is there.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use super::Gateways;
use super::change::REMOVED;
use super::folder;
use super::index::link;
use crate::fleet::GatewayId;
use crate::fleet::Record;
use crate::identity::GatewayName;
use crate::store::files;
use crate::store::lock::StateLock;

/// Links from ids of renamed gateways to their folders. An id begins with the first name.
const BY_ID: &str = ".by-id";

impl Gateways {
    /// Renames a gateway. Run again, it finishes what was interrupted.
    pub fn rename(&self, _: &StateLock, old: &GatewayName, new: &GatewayName) -> Result<Record> {
        let mut record = self.load(old)?;
        ensure!(old != new, "gateway {old} has that name already; nothing was changed");
        let is_begun = self.find(new)?.is_some_and(|begun| begun.id == record.id);
        ensure!(
            is_begun || !self.home(new).exists(),
            "there already is a gateway {new}; nothing was changed"
        );
        record.rename(new.clone());
        self.move_home(&record, old)?;
        Ok(record)
    }

    /// Moves the folder `old` to the name that `record` has now, with its keys.
    pub(super) fn move_home(&self, record: &Record, old: &GatewayName) -> Result<()> {
        let (from, home) = (self.home(old), self.home(&record.name));
        if home.exists() {
            folder::write_record(&home, record)?;
        } else {
            let unfinished = self.unfinished(&record.name)?;
            link_files(&from, &unfinished)
                .with_context(|| format!("cannot make {}", home.display()))?;
            folder::write_record(&unfinished, record)?;
            self.finish(&unfinished, &record.name)?;
        }
        self.remember_id(record)?;
        for owned in &record.certificates {
            self.index(&owned.fingerprint, &record.name)?;
        }
        let removed = self.dir.join(format!("{REMOVED}{}", record.id));
        fs::rename(&from, &removed)
            .and_then(|()| files::sync_parent(&from))
            .with_context(|| format!("cannot remove {}", from.display()))?;
        self.sweep()
    }

    /// Makes sure that the gateway can be found by its id.
    pub(super) fn remember_id(&self, record: &Record) -> Result<()> {
        if record.id.name() == record.name.as_str() {
            return Ok(());
        }
        if self.name_of(&record.id).as_ref() == Some(&record.name) {
            return Ok(());
        }
        link(&self.id_entry(&record.id), &record.name)
    }

    /// The name of a renamed gateway. Its record decides.
    pub(super) fn name_of(&self, id: &GatewayId) -> Option<GatewayName> {
        let target = fs::read_link(self.id_entry(id)).ok()?;
        target.to_str()?.strip_prefix("../")?.parse().ok()
    }

    /// Says whether `id` may be that of the gateway `name`, whose record cannot be read.
    pub fn may_have_id(&self, name: &GatewayName, id: &GatewayId) -> bool {
        match self.name_of(id) {
            Some(present) => present == *name,
            None => id.name() == name.as_str(),
        }
    }

    fn id_entry(&self, id: &GatewayId) -> PathBuf {
        self.dir.join(BY_ID).join(id)
    }

    /// The present name of a gateway that was renamed.
    pub(super) fn present_name(&self, former: &GatewayName) -> Option<GatewayName> {
        let names = self.names().ok()?;
        names.into_iter().find(|name| {
            let record = self.find(name).ok().flatten();
            record.is_some_and(|record| record.former_names.contains(former))
        })
    }
}

/// Links all files but the record, which is written anew.
fn link_files(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.file_name() != folder::RECORD {
            fs::hard_link(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
