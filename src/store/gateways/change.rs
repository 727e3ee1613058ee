//! Adds, renews, changes and removes gateways. Writes the disk, under the state's lock.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use time::OffsetDateTime;

use super::Gateways;
use super::folder;
use crate::fleet::CertificateState;
use crate::fleet::OwnedCertificate;
use crate::fleet::Record;
use crate::identity::Certificate;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;
use crate::store::files;
use crate::store::layout;
use crate::store::lock::StateLock;

// No gateway can have a name that begins with these.
const UNFINISHED: &str = ".new-";
pub(super) const REMOVED: &str = ".removed-";

impl Gateways {
    /// Fails if a gateway has that name.
    pub fn ensure_free(&self, name: &GatewayName) -> Result<()> {
        ensure!(
            !self.home(name).exists(),
            "there already is a gateway {name}; nothing was changed \
             (`farmgate gateway renew {name}` gives it a new certificate)"
        );
        Ok(())
    }

    /// Adds a gateway with its first certificate, and with the private key if that was made here.
    pub fn add(
        &self,
        _: &StateLock,
        name: &GatewayName,
        certificate_pem: &str,
        private_key_pem: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<Record> {
        self.ensure_free(name)?;
        let owned = self.own(certificate_pem)?;
        let record = Record::new(name.clone(), owned.clone(), now);
        let unfinished = self.unfinished(name)?;
        folder::write_certificate(
            &unfinished,
            &owned.fingerprint,
            certificate_pem,
            private_key_pem,
        )?;
        folder::write_record(&unfinished, &record)?;
        self.index(&owned.fingerprint, name)?;
        self.finish(&unfinished, name)?;
        Ok(record)
    }

    /// Gives a gateway a new active certificate. The existing ones stay valid until they are
    /// revoked.
    pub fn renew(
        &self,
        _: &StateLock,
        name: &GatewayName,
        certificate_pem: &str,
        private_key_pem: Option<&str>,
    ) -> Result<Record> {
        let mut record = self.load(name)?;
        let owned = self.own(certificate_pem)?;
        for earlier in &mut record.certificates {
            if earlier.state == CertificateState::Active {
                earlier.state = CertificateState::Retiring;
            }
        }
        record.certificates.push(owned.clone());
        let home = self.home(name);
        folder::write_certificate(&home, &owned.fingerprint, certificate_pem, private_key_pem)?;
        self.index(&owned.fingerprint, name)?;
        folder::write_record(&home, &record)?;
        Ok(record)
    }

    /// Applies a record of another host, with its certificates. Local keys stay.
    pub(in crate::store) fn adopt(
        &self,
        _: &StateLock,
        record: &Record,
        certificates: &BTreeMap<Fingerprint, &str>,
    ) -> Result<()> {
        let home = self.home(&record.name);
        let mut known = self.find(&record.name)?;
        if known.is_none()
            && let Some(mut here) = self.find_by_id(&record.id)?
        {
            // Another host renamed it.
            let old = std::mem::replace(&mut here.name, record.name.clone());
            self.move_home(&here, &old)?;
            known = Some(here);
        }
        if let Some(other) = known.as_ref().filter(|known| known.id != record.id) {
            bail!(
                "two gateways are called {}: {} here and {} on another boot host; remove one of \
                 them where it was added",
                record.name,
                other.id,
                record.id
            );
        }
        let place = match known {
            Some(_) => home.clone(),
            None => self.unfinished(&record.name)?,
        };
        for (fingerprint, pem) in certificates {
            if !folder::certificate_path(&place, fingerprint).exists() {
                folder::write_certificate(&place, fingerprint, pem, None)?;
            }
            // An entry that is right stays: replacing it would leave a moment without one.
            if !self.is_indexed(fingerprint, &record.name) {
                self.index(fingerprint, &record.name)?;
            }
        }
        folder::write_record(&place, record)?;
        if place != home {
            self.finish(&place, &record.name)?;
        }
        Ok(())
    }

    /// Writes a changed record.
    pub fn save(&self, _: &StateLock, record: &Record) -> Result<()> {
        folder::write_record(&self.home(&record.name), record)
    }

    /// Removes a gateway and its keys.
    pub fn remove(&self, _: &StateLock, record: &Record) -> Result<()> {
        let home = self.home(&record.name);
        let removed = self.dir.join(format!("{REMOVED}{}", record.id));
        let remove = || -> io::Result<()> {
            fs::rename(&home, &removed)?;
            files::sync_parent(&home)?;
            for owned in &record.certificates {
                files::remove_if_there(&self.index_entry(&owned.fingerprint))?;
            }
            Ok(())
        };
        remove().with_context(|| format!("cannot remove {}", home.display()))?;
        self.sweep()
    }

    /// An unfinished folder for a new gateway; [`Gateways::finish`] gives it its name.
    pub(super) fn unfinished(&self, name: &GatewayName) -> Result<PathBuf> {
        self.sweep()?;
        let unfinished = self.dir.join(format!("{UNFINISHED}{name}"));
        files::create_dir(&unfinished, layout::PRIVATE_DIR)?;
        Ok(unfinished)
    }

    /// Gives a complete folder the name of the gateway.
    pub(super) fn finish(&self, unfinished: &Path, name: &GatewayName) -> Result<()> {
        let home = self.home(name);
        fs::rename(unfinished, &home)
            .and_then(|()| files::sync_parent(&home))
            .with_context(|| format!("cannot make {}", home.display()))
    }

    /// Removes leftovers of interrupted commands, which may hold keys.
    pub(super) fn sweep(&self) -> Result<()> {
        let sweep = || -> io::Result<()> {
            for entry in fs::read_dir(&self.dir)? {
                let entry = entry?;
                let name = entry.file_name();
                if [UNFINISHED, REMOVED].iter().any(|p| name.as_bytes().starts_with(p.as_bytes())) {
                    fs::remove_dir_all(entry.path())?;
                }
            }
            Ok(())
        };
        sweep().with_context(|| format!("cannot clear {}", self.dir.display()))
    }

    fn own(&self, certificate_pem: &str) -> Result<OwnedCertificate> {
        let certificate = Certificate::from_pem(certificate_pem.as_bytes())?;
        if let Some(owner) = self.owner(&certificate.fingerprint)? {
            bail!("this certificate already belongs to gateway {}", owner.name);
        }
        ensure!(
            !certificate.serial.is_negative(),
            "its serial number is negative ({}), which RFC 5280 forbids and no CRL here could \
             list: issue a new one",
            certificate.serial
        );
        if let Some((name, other)) = self.with_serial(&certificate.serial)?.first() {
            bail!(
                "its serial number {} is also that of certificate {} of gateway {name}: a CRL \
                 lists only serial numbers, so nginx would refuse both when one is revoked; issue \
                 a new one",
                certificate.serial,
                other.fingerprint
            );
        }
        Ok(OwnedCertificate {
            fingerprint: certificate.fingerprint,
            serial: certificate.serial,
            state: CertificateState::Active,
            not_after: certificate.not_after,
        })
    }
}
