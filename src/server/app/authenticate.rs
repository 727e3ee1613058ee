//! Finds the gateway of a request by its client certificate. Reads the gateway's record, and the
//! clock for the certificate's validity.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use rustls::pki_types::UnixTime;
use time::OffsetDateTime;

use super::App;
use super::error::Error;
use super::error::Reach;
use super::error::Refusal;
use super::error::Result;
use crate::fleet::CertificateState;
use crate::fleet::EventId;
use crate::fleet::Record;
use crate::identity::ClientVerifier;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;
use crate::server::recorder::Subject;
use crate::store::journal::Stage;

/// Most verified certificates in the cache: more than a fleet has. A full cache is cleared.
const MOST: usize = 16 * 1024;

/// A client certificate whose key the client proved to have, in a handshake here or with nginx.
#[derive(Clone, Debug)]
pub(in crate::server) struct Presented {
    pub(in crate::server) der: Arc<[u8]>,
    pub(in crate::server) fingerprint: Fingerprint,
    pub(in crate::server) via: Via,
}

/// The TLS server of the connection.
#[derive(Clone, Debug)]
pub(in crate::server) enum Via {
    OwnTls,
    Nginx {
        /// Header values by which nginx proves its identity.
        marks: Vec<Vec<u8>>,
    },
}

impl Presented {
    pub(in crate::server) fn new(der: &[u8], via: Via) -> Self {
        Self { der: der.into(), fingerprint: Fingerprint::of_der(der), via }
    }
}

/// An authenticated gateway.
pub(in crate::server) struct Client {
    pub(in crate::server) gateway: Arc<Record>,
    /// Fingerprint of its certificate.
    pub(in crate::server) fingerprint: Fingerprint,
    /// Its address; a label that decides nothing.
    pub(in crate::server) address: String,
    pub(in crate::server) behind_nginx: bool,
}

impl Client {
    /// The subject of its lines in the flight recorder.
    pub(in crate::server) fn subject(&self, boot: Option<EventId>) -> Subject {
        let (gateway_id, address) = (self.gateway.id.clone(), self.address.clone());
        Subject { gateway_id, boot, address }
    }
}

/// Cache of certificates that the CA is known to have signed. Only the time and the CA can change
/// the result: a reload brings a new verifier, which verifies all of them again.
#[derive(Default)]
pub(super) struct Verified {
    good: Mutex<HashMap<Fingerprint, Good>>,
}

struct Good {
    by: Arc<ClientVerifier>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

impl Verified {
    /// Verifies a certificate unless this verifier has verified it before.
    fn verify(
        &self,
        verifier: &Arc<ClientVerifier>,
        presented: &Presented,
    ) -> std::result::Result<(), Refusal> {
        let now = UnixTime::now();
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let holds = |good: &Good| {
            Arc::ptr_eq(&good.by, verifier)
                && (good.not_before.unix_timestamp()..=good.not_after.unix_timestamp())
                    .contains(&seconds)
        };
        if self.lock().get(&presented.fingerprint).is_some_and(holds) {
            return Ok(());
        }
        let certificate = verifier.verify(&presented.der, now)?;
        let (not_before, not_after) = (certificate.not_before, certificate.not_after);
        let good = Good { by: verifier.clone(), not_before, not_after };
        let mut known = self.lock();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(presented.fingerprint, good);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Fingerprint, Good>> {
        // The code under this lock cannot panic.
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    /// The name of the gateway that owns a certificate, if it is in memory.
    pub(in crate::server) fn name_in_memory(
        &self,
        fingerprint: &Fingerprint,
    ) -> Option<GatewayName> {
        self.gateways.owner_in_memory(fingerprint).map(|record| record.name.clone())
    }

    /// Finds the gateway of a certificate and checks that it may come in: signed by the CA, valid
    /// now, registered, and not revoked. Looks at the record's file each time, so that a revocation
    /// counts from the next request on.
    pub(in crate::server) fn authenticate(
        &self,
        presented: &Presented,
        address: &str,
        reach: Reach,
    ) -> Result<Client> {
        let settings = self.settings();
        let behind_nginx = match &presented.via {
            Via::OwnTls => false,
            Via::Nginx { marks } => {
                if settings.listen.proxy_mark && !self.nginx.is_known(presented, marks, reach)? {
                    return Err(Refusal::NoProxyMark.into());
                }
                true
            }
        };
        self.verified.verify(&settings.verifier, presented)?;
        let fingerprint = presented.fingerprint;
        let unknown = || Refusal::Unknown(fingerprint);
        let gateway = match reach {
            Reach::Memory => self.gateways.owner_in_memory(&fingerprint).ok_or(Error::Cold)?,
            Reach::Disk => self.gateways.owner(&fingerprint)?.ok_or_else(unknown)?,
        };
        let owned = gateway.certificate(&fingerprint).ok_or_else(unknown)?;
        match owned.state {
            CertificateState::Active | CertificateState::Retiring => {
                let address = address.to_owned();
                Ok(Client { gateway, fingerprint, address, behind_nginx })
            }
            CertificateState::Revoked => {
                let (gateway_id, address) = (gateway.id.clone(), address.to_owned());
                let subject = Subject { gateway_id, boot: None, address };
                let error = format!("refused: certificate {fingerprint} is revoked");
                self.recorder.record(subject, Stage::Error { error: error.into() });
                Err(Refusal::Revoked { gateway: gateway.name.clone(), fingerprint }.into())
            }
        }
    }
}
