use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::app::App;
use super::error::HttpError;
use super::error::Refusal;
use super::peer::Peer;
use crate::identity::Fingerprint;
use crate::identity::certificate_from_headers;
use crate::store::gateways::Record;

/// The gateway that a request comes from, proved by its client certificate. A
/// handler that asks for it cannot be reached without; nothing else reads the
/// headers about certificates.
pub(super) struct Client {
    /// Its record.
    pub(super) gateway: Record,
    /// The certificate that it came with.
    pub(super) fingerprint: Fingerprint,
    /// Whether nginx stands between.
    pub(super) behind_nginx: bool,
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
        };
        let der = der.ok_or(Refusal::NoCertificate)?;
        let app = app.clone();
        let authenticated = tokio::task::spawn_blocking(move || app.authenticate(&der)).await;
        let (gateway, fingerprint) =
            authenticated.map_err(|error| HttpError::Internal(error.into()))??;
        Ok(Self { gateway, fingerprint, behind_nginx })
    }
}
