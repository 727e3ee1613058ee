mod ack;
mod boot;
mod generation;
mod secrets;

use std::sync::Arc;

use axum::Extension;
use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::middleware;
use axum::routing::get;

use super::admin;
use super::app::App;
use super::error::HttpError;
use super::metrics;
use super::peer::Peer;
use super::shown::shown;
use super::span;

/// Every route that gateways can reach.
pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/boot/ipxe", get(boot::boot))
        .route("/g/{generation}/{*path}", get(generation::of_number))
        .route("/files/{*path}", get(generation::of_current))
        .route(
            "/boot/ack/{token}",
            get(ack::acknowledge).post(ack::acknowledge).head(ack::not_allowed),
        )
        .route("/healthz", get(watchdog))
        .route("/secrets/{token}", get(secrets::read).head(secrets::not_allowed))
        .fallback(nothing)
        .layer(middleware::from_fn_with_state(app.clone(), metrics::count))
        .layer(middleware::from_fn(span::name_request))
        .with_state(app)
}

/// For the watchdog alone: gateways find no such route.
async fn watchdog(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
) -> Result<&'static str, HttpError> {
    match peer {
        Peer::Watchdog => admin::healthz(State(app)).await,
        Peer::Tls { .. } | Peer::Nginx | Peer::Admin { .. } => Err(nothing(uri).await),
    }
}

async fn nothing(uri: Uri) -> HttpError {
    HttpError::NotFound(format!("no route for {:?}", shown(uri.path())))
}
