use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use time::OffsetDateTime;

use super::State;
use super::generations::Generations;
use super::records::Records;
use crate::fleet::CertificateState;
use crate::fleet::OwnedCertificate;
use crate::fleet::Record;
use crate::identity::Certificate;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;
use crate::identity::pki::Revoked;
use crate::identity::pki::crl_validity;
use crate::identity::pki::read_crl;

impl State {
    /// Revokes one certificate of a gateway, or all of them, and says which. The
    /// record comes first, because it is what the server asks at each request; the
    /// CRL, for whoever else verifies certificates, follows.
    pub fn revoke(
        &self,
        name: &GatewayName,
        only: Option<&Fingerprint>,
        now: OffsetDateTime,
    ) -> Result<Vec<Fingerprint>> {
        let _lock = self.lock()?;
        let gateways = self.gateways();
        let mut record = gateways.load(name)?;
        if let Some(fingerprint) = only {
            ensure!(
                record.certificate(fingerprint).is_some(),
                "gateway {name} has no certificate {fingerprint}; \
                 `farmgate gateway show {name}` shows those it has"
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
        gateways.save(&record)?;
        self.add_to_crl(&record, now)?;
        Ok(revoked)
    }

    /// Revokes all certificates of a gateway and forgets it with its generations.
    pub fn remove_gateway(&self, name: &GatewayName, now: OffsetDateTime) -> Result<()> {
        self.revoke(name, None, now)?;
        let _lock = self.lock()?;
        // Revoked meanwhile; other hosts hear of both at once.
        let record = self.gateways().load(name)?;
        Records::new(self).write_tombstone(&record, now)?;
        self.gateways().remove(&record)?;
        Generations::new(self).remove(&record.id)
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
        let path = self.pki_file("crl.pem");
        let pem =
            self.read_pki("crl.pem").with_context(|| format!("cannot read {}", path.display()))?;
        read_crl(&pem).with_context(|| format!("cannot use {}", path.display()))
    }

    /// When nginx begins to believe in the CRL and when it stops; outside, it refuses everybody.
    pub fn crl_validity(&self) -> Result<(OffsetDateTime, Option<OffsetDateTime>)> {
        let path = self.pki_file("crl.pem");
        let pem =
            self.read_pki("crl.pem").with_context(|| format!("cannot read {}", path.display()))?;
        crl_validity(&pem).with_context(|| format!("cannot use {}", path.display()))
    }

    /// Signs the CRL anew: the same list, valid as long as the CA.
    pub fn renew_crl(&self) -> Result<()> {
        let _lock = self.lock()?;
        let (listed, number) = self.crl()?;
        self.write_crl(&listed, number + 1)
    }

    fn write_crl(&self, listed: &[Revoked], number: u64) -> Result<()> {
        let crl = self.authority()?.sign_crl(listed, number)?;
        self.write_pki("crl.pem", crl.as_bytes())
    }

    /// The same where a record came from another host. Only who can read the CA's key can sign
    /// the CRL; the server asks the record and does not need it.
    pub(super) fn mend_crl(&self, record: &Record, now: OffsetDateTime) -> Result<()> {
        if self.can_sign() { self.add_to_crl(record, now) } else { Ok(()) }
    }

    /// Brings the CRL in line with a record: also mends what an interrupted
    /// command left undone.
    fn add_to_crl(&self, record: &Record, now: OffsetDateTime) -> Result<()> {
        let (mut listed, number) = self.crl()?;
        let before = listed.len();
        for owned in record.certificates.iter().filter(|o| o.state == CertificateState::Revoked) {
            // No CRL of ours can list a negative one; the record lets nobody in.
            let known = listed.iter().any(|entry| entry.serial == owned.serial);
            if !known && !owned.serial.is_negative() {
                listed.push(Revoked { serial: owned.serial.clone(), at: now });
                self.warn_of_others(record, owned)?;
            }
        }
        if listed.len() == before {
            return Ok(());
        }
        self.write_crl(&listed, number + 1)
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
