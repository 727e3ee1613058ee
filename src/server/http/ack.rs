//! `POST` or `GET /boot/ack/<token>`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::Path;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;

use super::error::NO_STORE;
use super::front::Front;
use super::front::Line;
use super::front::Whose;
use crate::server::app::App;
use crate::server::app::Error;
use crate::server::edge::peer;
use crate::server::edge::peer::Peer;

/// The booted system reports that it works. It has no client certificate; the token authenticates
/// it. Repeating the request does no harm, so the system retries until it gets an answer.
pub(super) async fn acknowledge(
    State(front): State<Arc<Front>>,
    Path(token): Path<String>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let address = peer::address(peer.as_deref(), &headers);
    // Only whoever has a token of ours can hold up others who have one of the same gateway.
    let client = Whose::Gateway(front.app.claimed_by(&token)?);
    let work = move |app: &App, _| app.acknowledge(&token, &address);
    front.answer_from_disk(Line::Writes, &client, work).await?;
    Ok(([(header::CACHE_CONTROL, NO_STORE)], "acknowledged\n").into_response())
}

/// `HEAD` must not count as an acknowledgement.
pub(super) async fn not_allowed() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, POST")]).into_response()
}
