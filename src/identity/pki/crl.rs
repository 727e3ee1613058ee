//! The certificate revocation list (CRL; RFC 5280, section 5).

use std::collections::BTreeSet;

use rcgen::CertificateRevocationListParams;
use rcgen::KeyIdMethod;
use rcgen::RevocationReason;
use rcgen::RevokedCertParams;
use rcgen::SerialNumber;
use time::OffsetDateTime;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::ALWAYS;
use super::Authority;
use super::Error;
use crate::identity::Serial;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    pub serial: Serial,
    pub at: OffsetDateTime,
}

impl Authority {
    /// Signs a CRL (PEM) that lists `revoked`. `number` must grow (RFC 5280, section 5.2.3).
    ///
    /// The CRL is valid from [`ALWAYS`] until the CA ends. nginx refuses every gateway outside that
    /// time, so the clock of the signing host must not matter. Negative serial numbers are left
    /// out, because rcgen would write different ones.
    pub fn sign_crl(&self, revoked: &[Revoked], number: u64) -> Result<String, Error> {
        let revoked_certs = revoked
            .iter()
            .filter(|entry| !entry.serial.is_negative())
            .map(|entry| RevokedCertParams {
                serial_number: SerialNumber::from_slice(entry.serial.magnitude()),
                revocation_time: entry.at,
                reason_code: Some(RevocationReason::Unspecified),
                invalidity_date: None,
            })
            .collect();
        let params = CertificateRevocationListParams {
            this_update: ALWAYS,
            next_update: self.certificate.not_after,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let crl = params.signed_by(&self.issuer).map_err(Error::Issue)?;
        crl.pem().map_err(Error::Issue)
    }
}

/// `thisUpdate` and `nextUpdate` of a CRL (PEM; RFC 5280, sections 5.1.2.4 and 5.1.2.5). Clients
/// accept the CRL only between them.
pub fn crl_validity(pem: &[u8]) -> Result<(OffsetDateTime, Option<OffsetDateTime>), Error> {
    let (_, block) = x509_parser::pem::parse_x509_pem(pem).map_err(|_| Error::Crl)?;
    let (_, crl) = CertificateRevocationList::from_der(&block.contents).map_err(|_| Error::Crl)?;
    let end = crl.next_update().map(|time| time.to_datetime());
    Ok((crl.last_update().to_datetime(), end))
}

/// The entries of a CRL (PEM), each serial number once, and the CRL's number.
pub fn read_crl(pem: &[u8]) -> Result<(Vec<Revoked>, u64), Error> {
    let (_, block) = x509_parser::pem::parse_x509_pem(pem).map_err(|_| Error::Crl)?;
    let (_, crl) = CertificateRevocationList::from_der(&block.contents).map_err(|_| Error::Crl)?;
    let number = match crl.crl_number() {
        Some(number) => u64::try_from(number).map_err(|_| Error::Crl)?,
        None => 0,
    };
    let mut revoked: Vec<Revoked> = Vec::new();
    let mut known = BTreeSet::new();
    for entry in crl.iter_revoked_certificates() {
        let serial = Serial::from_der(entry.raw_serial());
        if known.insert(serial.clone()) {
            revoked.push(Revoked { serial, at: entry.revocation_date.to_datetime() });
        }
    }
    Ok((revoked, number))
}
