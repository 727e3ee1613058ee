use std::sync::Arc;

use anyhow::Result;
use rustls::pki_types::UnixTime;

use super::error::HttpError;
use super::error::Refusal;
use crate::config::AccelPrefix;
use crate::identity::ClientVerifier;
use crate::identity::Fingerprint;
use crate::store::State;
use crate::store::events::History;
use crate::store::gateways::CertificateState;
use crate::store::gateways::Gateways;
use crate::store::gateways::Record;
use crate::store::generations::Generations;
use crate::store::generations::LiveGenerations;

/// What all requests share.
pub(super) struct App {
    verifier: ClientVerifier,
    gateways: Gateways,
    pub(super) generations: LiveGenerations,
    pub(super) accel: Option<AccelPrefix>,
}

impl App {
    pub(super) fn new(state: &State, accel: Option<AccelPrefix>) -> Result<Self> {
        Ok(Self {
            verifier: ClientVerifier::new(&state.ca_certificate()?)?,
            gateways: state.gateways(),
            generations: LiveGenerations::new(Generations::new(state)),
            accel,
        })
    }

    /// What is known of a gateway's generations now.
    pub(super) async fn history(
        self: &Arc<Self>,
        gateway: &Record,
    ) -> Result<Arc<History>, HttpError> {
        let (app, id) = (self.clone(), gateway.id.clone());
        let read = tokio::task::spawn_blocking(move || app.generations.history(&id)).await;
        Ok(read.map_err(|error| HttpError::Internal(error.into()))??)
    }

    /// Finds the gateway that a certificate belongs to, if it lets it in: signed
    /// by the CA and valid now, registered, and not revoked. Asks the disk each
    /// time, so that a revocation counts from the next request on.
    pub(super) fn authenticate(&self, der: &[u8]) -> Result<(Record, Fingerprint), HttpError> {
        let certificate = self.verifier.verify(der, UnixTime::now()).map_err(Refusal::Verify)?;
        let fingerprint = certificate.fingerprint;
        let record = self.gateways.owner(&fingerprint)?.ok_or(Refusal::Unknown(fingerprint))?;
        let owned = record.certificate(&fingerprint).ok_or(Refusal::Unknown(fingerprint))?;
        match owned.state {
            CertificateState::Active | CertificateState::Retiring => Ok((record, fingerprint)),
            CertificateState::Revoked => {
                Err(Refusal::Revoked { gateway: record.name, fingerprint }.into())
            }
        }
    }
}
