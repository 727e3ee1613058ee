//! Revokes certificates and removes gateways: in the record, which the server reads, and in the
//! CRL, for nginx. Writes the disk, under the state's lock.

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use time::OffsetDateTime;

use super::acts::Acts;
use super::consoles::Consoles;
use super::gc;
use super::generations::Generations;
use super::layout;
use super::lock::StateLock;
use super::records::Records;
use super::state::State;
use crate::fleet::Act;
use crate::fleet::By;
use crate::fleet::CertificateState;
use crate::fleet::OwnedCertificate;
use crate::fleet::Record;
use crate::fleet::What;
use crate::identity::Certificate;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;
use crate::identity::pki::Revoked;
use crate::identity::pki::crl_validity;
use crate::identity::pki::read_crl;

impl State {
    /// Revokes one certificate of a gateway, or all of them, and returns which. The record comes
    /// first, because the server reads it at each request. The CRL, for nginx, follows.
    pub fn revoke(
        &self,
        name: &GatewayName,
        only: Option<&Fingerprint>,
        by: &By,
        now: OffsetDateTime,
    ) -> Result<Vec<Fingerprint>> {
        let lock = self.lock()?;
        let gateways = self.gateways();
        let mut record = gateways.load(name)?;
        if let Some(fingerprint) = only {
            ensure!(
                record.certificate(fingerprint).is_some(),
                "gateway {name} has no certificate {fingerprint}; \
                 `farmgate gateway show {name}` shows all of them"
            );
        }
        let mut revoked = Vec::new();
        for owned in &mut record.certificates {
            let meant = only.is_none_or(|fingerprint| owned.fingerprint == *fingerprint);
            if meant && owned.state != CertificateState::Revoked {
                owned.state = CertificateState::Revoked;
                revoked.push(owned.fingerprint);
            }
        }
        gateways.save(&lock, &record)?;
        if !revoked.is_empty() {
            // Before the CRL, which a host without the CA's key cannot sign.
            let act = Act::new(What::CertificateRevoked, Some(by), now).of(&record);
            Acts::new(self).note(&act.with_certificates(revoked.iter().copied()));
        }
        self.add_to_crl(&lock, &record, now)?;
        Ok(revoked)
    }

    /// Revokes all certificates of a gateway and forgets it with its generations.
    pub fn remove_gateway(&self, name: &GatewayName, by: &By, now: OffsetDateTime) -> Result<()> {
        self.revoke(name, None, by, now)?;
        let lock = self.lock()?;
        // As after a revocation: other hosts learn of both at once.
        let record = self.gateways().load(name)?;
        Records::new(self).write_tombstone(&record, now)?;
        let generations = Generations::new(self);
        let named = gc::named(&generations, &record.id);
        self.gateways().remove(&lock, &record)?;
        Acts::new(self).note(&Act::new(What::GatewayRemoved, Some(by), now).of(&record));
        generations.remove(&record.id)?;
        Consoles::new(self).remove(&record.id)?;
        drop(lock);
        // The gateway is gone already; the next `farmgate gc` removes what stays now.
        let freed = named.and_then(|named| gc::free(self, &named, now));
        if let Err(error) = freed {
            tracing::warn!("files of {name} stay until `farmgate gc` can remove them: {error:#}");
        }
        Ok(())
    }

    /// Fails if the CRL lists this certificate.
    pub fn ensure_not_revoked(&self, certificate: &Certificate) -> Result<()> {
        let (listed, _) = self.crl()?;
        ensure!(
            listed.iter().all(|entry| entry.serial != certificate.serial),
            "certificate {} was revoked, and revocation is for good",
            certificate.fingerprint
        );
        Ok(())
    }

    fn crl(&self) -> Result<(Vec<Revoked>, u64)> {
        let path = self.pki_file(layout::CRL);
        let pem = self
            .read_pki(layout::CRL)
            .with_context(|| format!("cannot read {}", path.display()))?;
        read_crl(&pem).with_context(|| format!("cannot use {}", path.display()))
    }

    /// The validity of the CRL. Outside of it, nginx refuses every client.
    pub fn crl_validity(&self) -> Result<(OffsetDateTime, Option<OffsetDateTime>)> {
        let path = self.pki_file(layout::CRL);
        let pem = self
            .read_pki(layout::CRL)
            .with_context(|| format!("cannot read {}", path.display()))?;
        crl_validity(&pem).with_context(|| format!("cannot use {}", path.display()))
    }

    /// Signs the CRL again: the same list, valid as long as the CA.
    pub fn renew_crl(&self) -> Result<()> {
        let lock = self.lock()?;
        let (listed, number) = self.crl()?;
        self.write_crl(&lock, &listed, number + 1)
    }

    fn write_crl(&self, _: &StateLock, listed: &[Revoked], number: u64) -> Result<()> {
        let crl = self.authority()?.sign_crl(listed, number)?;
        self.write_pki(layout::CRL, crl.as_bytes())
    }

    /// Adds the revoked certificates of a record that came from another host, if this process can
    /// read the CA's key. The server uses the record and does not need the CRL.
    pub(super) fn mend_crl(
        &self,
        lock: &StateLock,
        record: &Record,
        now: OffsetDateTime,
    ) -> Result<()> {
        if self.can_sign() { self.add_to_crl(lock, record, now) } else { Ok(()) }
    }

    /// Adds all revoked certificates of a record, including any that an interrupted command left
    /// out.
    fn add_to_crl(&self, lock: &StateLock, record: &Record, now: OffsetDateTime) -> Result<()> {
        let (mut listed, number) = self.crl()?;
        let before = listed.len();
        for owned in record.certificates.iter().filter(|o| o.state == CertificateState::Revoked) {
            // Our CRLs cannot list a negative serial number. The record is enough to refuse it.
            let known = listed.iter().any(|entry| entry.serial == owned.serial);
            if !known && !owned.serial.is_negative() {
                listed.push(Revoked { serial: owned.serial.clone(), at: now });
                self.warn_of_others(record, owned)?;
            }
        }
        if listed.len() == before {
            return Ok(());
        }
        self.write_crl(lock, &listed, number + 1)
    }

    /// States made before can have several certificates of one serial number.
    fn warn_of_others(&self, record: &Record, revoked: &OwnedCertificate) -> Result<()> {
        for (name, other) in self.gateways().with_serial(&revoked.serial)? {
            if other.state != CertificateState::Revoked && other.fingerprint != revoked.fingerprint
            {
                tracing::warn!(
                    "certificate {} of {name} has the same serial number as the revoked one of {}: \
                     nginx refuses both; renew {name}, and make it a new medium",
                    other.fingerprint,
                    record.name
                );
            }
        }
        Ok(())
    }
}
