use axum::extract::MatchedPath;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

use super::peer::Peer;

/// Names client and route on every line that is logged for a request. The route
/// and not the path: a path can hold a token.
pub(super) async fn name_request(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    let address = match request.extensions().get::<Peer>() {
        Some(Peer::Tls { address, .. }) => address.ip().to_string(),
        Some(Peer::Nginx) | None => real_ip(request.headers()),
    };
    let span = tracing::info_span!("request", address, route);
    next.run(request).instrument(span).await
}

/// What nginx says of the client's address; a label.
fn real_ip(headers: &HeaderMap) -> String {
    let text = headers.get("x-real-ip").and_then(|value| value.to_str().ok());
    text.and_then(|text| text.parse::<std::net::IpAddr>().ok())
        .map_or_else(|| "unknown".to_owned(), |address| address.to_string())
}
