use std::sync::Arc;

use axum::Extension;
use axum::extract::Path;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::server::app::App;
use crate::server::error::HttpError;
use crate::server::peer;
use crate::server::peer::Peer;

/// `GET /secrets/<token>`: the rendered secrets of one boot. The booted system has
/// no client certificate; it has the token. Used up, expired and never made look
/// alike.
pub(super) async fn read(
    State(app): State<Arc<App>>,
    Path(token): Path<String>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let address = peer::address(peer.as_deref(), &headers);
    let secrets = app.redeem(token, address).await?;
    let secrets =
        secrets.ok_or_else(|| HttpError::NotFound("no such lease of secrets".to_owned()))?;
    let headers =
        [(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, secrets).into_response())
}

/// Anything but `GET` must not use up a reading.
pub(super) async fn not_allowed() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET")]).into_response()
}
