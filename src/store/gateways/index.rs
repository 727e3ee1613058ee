//! `.by-fingerprint/`: from a certificate to the record of its owner.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;

use super::Gateways;
use super::Record;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;
use crate::store::files;

const INDEX: &str = ".by-fingerprint";

impl Gateways {
    /// The record of the gateway that owns the certificate, in whatever state.
    pub fn owner(&self, fingerprint: &Fingerprint) -> Result<Option<Record>> {
        let link = self.index_entry(fingerprint);
        let target = match fs::read_link(&link) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context(format!("cannot read {}", link.display())),
        };
        let name: GatewayName = target
            .to_str()
            .and_then(|target| target.strip_prefix("../")?.parse().ok())
            .with_context(|| format!("{} does not lead to a gateway", link.display()))?;
        let record = self.find(&name)?;
        Ok(record.filter(|record| record.certificate(fingerprint).is_some()))
    }

    pub(super) fn index_entry(&self, fingerprint: &Fingerprint) -> PathBuf {
        self.dir.join(INDEX).join(fingerprint.to_string())
    }

    pub(super) fn index(&self, fingerprint: &Fingerprint, name: &GatewayName) -> Result<()> {
        files::create_dir(&self.dir.join(INDEX), 0o700)?;
        let entry = self.index_entry(fingerprint);
        let write = || -> io::Result<()> {
            files::remove_if_there(&entry)?;
            std::os::unix::fs::symlink(Path::new("..").join(name), &entry)?;
            files::sync_parent(&entry)
        };
        write().with_context(|| format!("cannot write {}", entry.display()))
    }
}
