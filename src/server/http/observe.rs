//! Counts each request and its answer, and adds both to every log line of the request.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::MatchedPath;
use axum::extract::Request;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

use super::error::RefusedFor;
use super::front::Front;
use super::routes::NONE;
use super::routes::ROUTES;
use crate::server::edge::peer;
use crate::server::edge::peer::Peer;

/// The log shows the route instead of the path: a path can contain a token.
pub(super) async fn observe(
    State(front): State<Arc<Front>>,
    request: Request,
    next: Next,
) -> Response {
    let matched = request.extensions().get::<MatchedPath>().map_or(NONE, MatchedPath::as_str);
    let route = route(matched);
    let peer = request.extensions().get::<Peer>();
    let address = peer::address(peer, request.headers());
    let counts = !matches!(peer, Some(Peer::Watchdog));
    let span = tracing::info_span!("request", address, route);
    let began = Instant::now();
    let response = next.run(request).instrument(span).await;
    if counts {
        let counters = &front.app.counters;
        let seconds = began.elapsed().as_secs_f64();
        counters.answered(route, response.status().as_u16(), seconds);
        if let Some(reason) = response.extensions().get::<RefusedFor>() {
            counters.refused(reason.0);
        }
    }
    response
}

fn route(matched: &str) -> &'static str {
    ROUTES.into_iter().find(|route| *route == matched).unwrap_or(NONE)
}
