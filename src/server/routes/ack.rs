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
use crate::server::error::NO_STORE;
use crate::server::peer;
use crate::server::peer::Peer;

/// `POST` or `GET /boot/ack/<token>`: the booted system says that it works. It has
/// no client certificate; the token is what it proves itself with. To ask twice
/// does no harm, so it may be repeated until it is answered.
pub(super) async fn acknowledge(
    State(app): State<Arc<App>>,
    Path(token): Path<String>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let address = peer::address(peer.as_deref(), &headers);
    let (gateway, generation) = app
        .acknowledge(&token, address)
        .await?
        .ok_or_else(|| HttpError::NotFound("not the token of a recent boot".to_owned()))?;
    tracing::info!(gateway = gateway.name(), generation, "acknowledged");
    Ok(([(header::CACHE_CONTROL, NO_STORE)], "acknowledged\n").into_response())
}

/// `HEAD` must not count as the word of a system that works.
pub(super) async fn not_allowed() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, POST")]).into_response()
}
