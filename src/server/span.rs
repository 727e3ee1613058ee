use axum::extract::MatchedPath;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

use super::peer;

/// Names client and route on every line that is logged for a request. The route
/// and not the path: a path can hold a token.
pub(super) async fn name_request(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    let address = peer::address(request.extensions().get(), request.headers());
    let span = tracing::info_span!("request", address, route);
    next.run(request).instrument(span).await
}
