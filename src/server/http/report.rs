//! `POST /boot/report/<token>`.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::Path;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;

use super::body;
use super::error::say;
use super::front::Front;
use super::front::Line;
use super::front::Whose;
use crate::profile::report::MAX_REPORT;
use crate::profile::report::Report;
use crate::server::app::App;
use crate::server::app::Error;
use crate::server::edge::peer;
use crate::server::edge::peer::Peer;

/// Longest wait for a body.
const PATIENCE: Duration = Duration::from_secs(20);

/// The booted system's agent tells a step of its boot. It has no client certificate; the boot's
/// token authenticates it. The token and the gateway's limits are looked at before the body.
pub(super) async fn report(
    State(front): State<Arc<Front>>,
    Path(token): Path<String>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let address = peer::address(peer.as_deref(), &headers);
    let gateway = front.app.hear(&token)?;
    let _turn = front.turn_to_report(&gateway).await?;
    let body = match body::read(body, MAX_REPORT, PATIENCE).await {
        Ok(body) => body,
        Err(status) => return Ok(say(status)),
    };
    let malformed = |error| {
        Error::Malformed(format!(
            "the report of gateway {} cannot be read: {error}",
            gateway.name()
        ))
    };
    let report: Report = serde_json::from_slice(&body).map_err(malformed)?;
    let client = Whose::Gateway(gateway);
    let work = move |app: &App, _| app.report(&token, &address, report.clone());
    front.answer_from_disk(Line::Writes, &client, work).await?;
    Ok(say(StatusCode::OK))
}

/// Another method than `POST`.
pub(super) async fn not_post() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST")]).into_response()
}
