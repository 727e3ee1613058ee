//! Who a gateway is.

use anyhow::Result;
use rustls::pki_types::UnixTime;

use super::App;
use crate::fleet::CertificateState;
use crate::fleet::Record;
use crate::identity::Fingerprint;
use crate::server::error::HttpError;
use crate::server::error::Refusal;
use crate::server::recorder::Subject;
use crate::store::journal::Stage;

impl App {
    /// Finds the gateway that a certificate belongs to, if it lets it in: signed
    /// by the CA and valid now, registered, and not revoked. Asks the disk each
    /// time, so that a revocation counts from the next request on.
    pub(in crate::server) fn authenticate(
        &self,
        der: &[u8],
        address: String,
    ) -> Result<(Record, Fingerprint), HttpError> {
        let verifier = &self.settings().verifier;
        let certificate = verifier.verify(der, UnixTime::now()).map_err(Refusal::Verify)?;
        let fingerprint = certificate.fingerprint;
        let record = self.gateways.owner(&fingerprint)?.ok_or(Refusal::Unknown(fingerprint))?;
        let owned = record.certificate(&fingerprint).ok_or(Refusal::Unknown(fingerprint))?;
        match owned.state {
            CertificateState::Active | CertificateState::Retiring => Ok((record, fingerprint)),
            CertificateState::Revoked => {
                let subject = Subject { gateway_id: record.id.clone(), boot: None, address };
                let error = format!("turned away: certificate {fingerprint} is revoked");
                self.recorder.record(&subject, Stage::Error { error: error.into() });
                Err(Refusal::Revoked { gateway: record.name, fingerprint }.into())
            }
        }
    }
}
