//! The client certificate of a request.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::front::Front;
use crate::identity::Fingerprint;
use crate::server::app::App;
use crate::server::app::Client;
use crate::server::app::Error;
use crate::server::app::Presented;
use crate::server::app::Reach;
use crate::server::app::Refusal;
use crate::server::app::Result;
use crate::server::edge::peer;
use crate::server::edge::peer::Peer;

/// An authenticated client: a certificate whose key the client has. A handler with this argument
/// cannot be reached without one.
pub(super) struct Asking {
    presented: Presented,
    pub(super) address: String,
}

impl Asking {
    /// The key for [`super::turns::Turns`]. It is authenticated, so that nobody can take another
    /// client's turns.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.presented.fingerprint
    }

    /// The client's gateway.
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
            Peer::Nginx => front.nginx_headers.presented(&parts.headers)?,
            Peer::Admin { .. } | Peer::Watchdog => None,
        };
        let presented = presented.ok_or(Refusal::NoCertificate)?;
        Ok(Self { presented, address: peer::address(Some(peer), &parts.headers) })
    }
}
