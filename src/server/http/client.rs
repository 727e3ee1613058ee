//! The certificate that a request comes with. Nothing else reads the headers about certificates.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::front::Front;
use crate::identity::Fingerprint;
use crate::identity::certificate_from_headers;
use crate::server::app::App;
use crate::server::app::Client;
use crate::server::app::Error;
use crate::server::app::Presented;
use crate::server::app::Reach;
use crate::server::app::Refusal;
use crate::server::app::Result;
use crate::server::app::Via;
use crate::server::edge::peer;
use crate::server::edge::peer::Peer;

/// See [`crate::config::Listen::proxy_mark`].
const PROXY_MARK: &str = "x_farmgate_proxy";
const VERIFY: &str = "x-ssl-client-verify";
const CERTIFICATE: &str = "x-ssl-client-cert";

/// Who asks: a certificate whose key the client has. A handler that takes it cannot be reached
/// without one.
pub(super) struct Asking {
    presented: Presented,
    pub(super) address: String,
}

impl Asking {
    /// Whose turn it is. Nobody proves to be somebody else, so nobody can take another's.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.presented.fingerprint
    }

    /// The gateway that asks.
    pub(super) fn authenticate(&self, app: &App, reach: Reach) -> Result<Client> {
        app.authenticate(&self.presented, &self.address, reach)
    }
}

impl FromRequestParts<Arc<Front>> for Asking {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, front: &Arc<Front>) -> Result<Self> {
        let peer = parts.extensions.get::<Peer>().ok_or(Refusal::NoCertificate)?;
        let presented = match peer {
            Peer::Tls { certificate, .. } => certificate.clone(),
            Peer::Nginx => front.headers.presented(&parts.headers)?,
            Peer::Admin { .. } | Peer::Watchdog => None,
        };
        let presented = presented.ok_or(Refusal::NoCertificate)?;
        Ok(Self { presented, address: peer::address(Some(peer), &parts.headers) })
    }
}

/// Certificates that nginx sent of late, so that they need not be decoded again.
#[derive(Default)]
pub(super) struct Headers {
    decoded: Mutex<HashMap<Box<[u8]>, Presented>>,
}

/// Headers that are kept, and the longest of them: 4 MiB at most.
const MOST: usize = 1024;
const LONGEST: usize = 4096;

impl Headers {
    fn presented(&self, headers: &HeaderMap) -> std::result::Result<Option<Presented>, Refusal> {
        let values = |name| headers.get_all(name).iter().map(|value| value.as_bytes());
        let via = || Via::Nginx { marks: values(PROXY_MARK).map(<[u8]>::to_vec).collect() };
        let (mut certificates, mut verdicts) = (values(CERTIFICATE), values(VERIFY));
        let known =
            match (verdicts.next(), verdicts.next(), certificates.next(), certificates.next()) {
                (Some(b"SUCCESS"), None, Some(escaped), None) => {
                    let decoded = self.decoded.lock().unwrap_or_else(PoisonError::into_inner);
                    decoded.get(escaped).cloned()
                }
                _ => None,
            };
        if let Some(known) = known {
            return Ok(Some(Presented { via: via(), ..known }));
        }
        let Some(der) = certificate_from_headers(values(VERIFY), values(CERTIFICATE))? else {
            return Ok(None);
        };
        let presented = Presented::new(&der, via());
        if let Some(escaped) = values(CERTIFICATE).next().filter(|text| text.len() <= LONGEST) {
            let mut decoded = self.decoded.lock().unwrap_or_else(PoisonError::into_inner);
            if decoded.len() >= MOST {
                decoded.clear();
            }
            decoded.insert(escaped.into(), presented.clone());
        }
        Ok(Some(presented))
    }
}
