use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderValue;
use axum::http::request::Parts;

use super::app::App;
use super::error::HttpError;
use super::error::Refusal;
use super::peer;
use super::peer::Peer;
use super::recorder::Subject;
use crate::fleet::EventId;
use crate::fleet::Record;
use crate::identity::Fingerprint;
use crate::identity::certificate_from_headers;

/// See [`crate::config::Listen::proxy_mark`].
const PROXY_MARK: &str = "x_farmgate_proxy";

/// The gateway that a request comes from, proved by its client certificate. A
/// handler that asks for it cannot be reached without; nothing else reads the
/// headers about certificates.
pub(super) struct Client {
    /// Its record.
    pub(super) gateway: Record,
    /// The certificate that it came with.
    pub(super) fingerprint: Fingerprint,
    /// Where it comes from; a label.
    pub(super) address: String,
    /// Whether nginx stands between.
    pub(super) behind_nginx: bool,
}

impl Client {
    /// For the flight recorder.
    pub(super) fn subject(&self, boot: Option<EventId>) -> Subject {
        let (gateway_id, address) = (self.gateway.id.clone(), self.address.clone());
        Subject { gateway_id, boot, address }
    }
}

impl FromRequestParts<Arc<App>> for Client {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, HttpError> {
        let peer = parts.extensions.get::<Peer>().ok_or(Refusal::NoCertificate)?;
        let (der, behind_nginx) = match peer {
            Peer::Tls { certificate, .. } => (certificate.clone(), false),
            Peer::Nginx => {
                let values = |name| parts.headers.get_all(name).iter().map(|v| v.as_bytes());
                let der = certificate_from_headers(
                    values("x-ssl-client-verify"),
                    values("x-ssl-client-cert"),
                )
                .map_err(Refusal::Header)?;
                (der, true)
            }
            Peer::Admin { .. } | Peer::Watchdog => (None, false),
        };
        let der = der.ok_or(Refusal::NoCertificate)?;
        let address = peer::address(Some(peer), &parts.headers);
        let marked = behind_nginx && app.settings().listen.proxy_mark;
        let marks: Vec<_> = parts.headers.get_all(PROXY_MARK).iter().cloned().collect();
        // Nobody proves to be somebody else, so nobody can take another's turn.
        let client = Fingerprint::of_der(&der).to_string();
        let (here, from) = (app.clone(), address.clone());
        let authenticate = move || {
            let marks = marks.iter().map(HeaderValue::as_bytes);
            if marked && !here.settings().state.is_from_nginx(&der, marks)? {
                return Err(Refusal::NoProxyMark.into());
            }
            here.authenticate(&der, from)
        };
        let (gateway, fingerprint) = app.read(&client, authenticate).await?;
        Ok(Self { gateway, fingerprint, address, behind_nginx })
    }
}
