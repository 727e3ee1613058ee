//! `GET /secrets/<token>`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::Path;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;

use super::error::NO_STORE;
use super::front::Front;
use super::front::Line;
use super::front::Whose;
use crate::server::app::App;
use crate::server::app::Asked;
use crate::server::app::Error;
use crate::server::edge::peer;
use crate::server::edge::peer::Peer;

/// The rendered secrets of one boot. The booted system has no client certificate; the token
/// authenticates it.
pub(super) async fn read(
    State(front): State<Arc<Front>>,
    Path(token): Path<String>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let address = peer::address(peer.as_deref(), &headers);
    let client = Whose::Address(address.clone());
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
    let own_tls = matches!(peer.as_deref(), Some(Peer::Tls { .. }));
    let asked = Asked { address, host, own_tls };
    let work = move |app: &App, _| app.redeem(&token, &asked);
    let secrets = front.answer_from_disk(Line::Reads, &client, work).await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CACHE_CONTROL, NO_STORE),
    ];
    Ok((headers, secrets).into_response())
}

/// Only `GET` may use up a reading.
pub(super) async fn not_allowed() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET")]).into_response()
}
