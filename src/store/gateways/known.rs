//! A cache of gateways' records for the server. A record is read again once its file has changed.
//! Reads the disk.

use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Result;

use super::Gateways;
use super::folder::RECORD;
use crate::fleet::Record;
use crate::identity::Fingerprint;
use crate::store::stamp::Memo;
use crate::store::stamp::Stamp;

/// Most cached certificates. Each has a record of some kB.
const MOST: usize = 16 * 1024;

/// The owners of certificates. A command's change counts from the next request on.
#[derive(Debug)]
pub struct KnownGateways {
    gateways: Gateways,
    owners: Memo<Fingerprint, Arc<Record>>,
}

impl KnownGateways {
    /// A cache of `gateways`.
    pub fn new(gateways: Gateways) -> Self {
        Self { gateways, owners: Memo::new(MOST) }
    }

    /// The cached record of the certificate's owner, if its file is unchanged. Costs one look at
    /// the file, and reads nothing.
    pub fn owner_in_memory(&self, fingerprint: &Fingerprint) -> Option<Arc<Record>> {
        let (seen, record) = self.owners.get(fingerprint)?;
        let path = self.gateways.home(&record.name).join(RECORD);
        seen.is_still(&Stamp::read(&path).ok()?).then_some(record)
    }

    /// The record of the gateway that owns the certificate, whatever the certificate's state.
    pub fn owner(&self, fingerprint: &Fingerprint) -> Result<Option<Arc<Record>>> {
        if let Some(record) = self.owner_in_memory(fingerprint) {
            return Ok(Some(record));
        }
        let Some(name) = self.gateways.indexed(fingerprint)? else { return Ok(None) };
        let path = self.gateways.home(&name).join(RECORD);
        // Taken before the read, so that a concurrent change shows the next time.
        let (now, stamp) = (SystemTime::now(), Stamp::read(&path).ok());
        let record = self.gateways.find(&name)?;
        let owns = |record: &Record| record.certificate(fingerprint).is_some();
        let Some(record) = record.filter(owns).map(Arc::new) else { return Ok(None) };
        if let Some(stamp) = stamp {
            self.owners.keep(*fingerprint, stamp, record.clone(), now);
        }
        Ok(Some(record))
    }
}

impl std::ops::Deref for KnownGateways {
    type Target = Gateways;

    fn deref(&self) -> &Gateways {
        &self.gateways
    }
}
