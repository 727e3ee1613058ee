//! `.by-fingerprint/`: an index from certificates to their owners' records. Reads and writes the
//! disk.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;

use super::Gateways;
use crate::fleet::Record;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;
use crate::store::files;
use crate::store::layout;

const INDEX: &str = ".by-fingerprint";

impl Gateways {
    /// The record of the gateway that owns the certificate, whatever the certificate's state.
    pub fn owner(&self, fingerprint: &Fingerprint) -> Result<Option<Record>> {
        let Some(name) = self.indexed(fingerprint)? else { return Ok(None) };
        let record = self.find(&name)?;
        Ok(record.filter(|record| record.certificate(fingerprint).is_some()))
    }

    /// The gateway that the index names for a certificate. Its record decides.
    pub(super) fn indexed(&self, fingerprint: &Fingerprint) -> Result<Option<GatewayName>> {
        let link = self.index_entry(fingerprint);
        let target = match fs::read_link(&link) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context(format!("cannot read {}", link.display())),
        };
        let name = target.to_str().and_then(|target| target.strip_prefix("../")?.parse().ok());
        name.map(Some).with_context(|| format!("{} does not lead to a gateway", link.display()))
    }

    pub(super) fn index_entry(&self, fingerprint: &Fingerprint) -> PathBuf {
        self.dir.join(INDEX).join(fingerprint.to_string())
    }

    pub(super) fn index(&self, fingerprint: &Fingerprint, name: &GatewayName) -> Result<()> {
        link(&self.index_entry(fingerprint), name)
    }

    /// Repairs missing and wrong entries from the records: a restored backup may lack the symbolic
    /// links. Returns how many it repaired. A failed repair does not stop the others; the first
    /// failure is returned.
    pub fn mend_index(&self) -> Result<usize> {
        let mut mended = Ok(0);
        for name in self.names()? {
            // An unreadable record is reported by its users.
            let Ok(Some(record)) = self.find(&name) else { continue };
            mended = mended.and_then(|count| self.remember_id(&record).map(|()| count));
            for owned in &record.certificates {
                if self.is_indexed(&owned.fingerprint, &name) {
                    continue;
                }
                // Two records claim one certificate; this code cannot decide.
                let owner = self.owner(&owned.fingerprint).ok().flatten();
                if owner.is_none_or(|owner| owner.name == name) {
                    let made = self.index(&owned.fingerprint, &name);
                    mended = mended.and_then(|count| made.map(|()| count + 1));
                }
            }
        }
        mended
    }

    /// Says whether the index maps a certificate to this gateway.
    pub fn is_indexed(&self, fingerprint: &Fingerprint, name: &GatewayName) -> bool {
        let target = fs::read_link(self.index_entry(fingerprint)).ok();
        target.is_some_and(|target| target == Path::new("..").join(name))
    }
}

/// Makes the entry of an index lead to a gateway's folder. Whoever reads it finds the old one or the
/// new one.
pub(super) fn link(entry: &Path, name: &GatewayName) -> Result<()> {
    let dir = entry.parent().unwrap_or(entry);
    files::create_dir(dir, layout::PRIVATE_DIR)?;
    let file = entry.file_name().unwrap_or_default().to_string_lossy();
    let new = dir.join(format!(".new-{file}"));
    let write = || -> io::Result<()> {
        files::remove_if_there(&new)?;
        std::os::unix::fs::symlink(Path::new("..").join(name), &new)?;
        if fs::symlink_metadata(entry).is_ok_and(|facts| facts.is_dir()) {
            clear(entry)?;
        }
        fs::rename(&new, entry)?;
        files::sync_parent(entry)
    };
    write().with_context(|| format!("cannot write {}", entry.display()))
}

/// Removes what is in the place of an entry. A tool that follows symbolic links leaves a copy of
/// the gateway's folder there, with keys in it.
fn clear(entry: &Path) -> io::Result<()> {
    match fs::symlink_metadata(entry) {
        Ok(facts) if facts.is_dir() => fs::remove_dir_all(entry),
        _ => files::remove_if_there(entry),
    }
}
