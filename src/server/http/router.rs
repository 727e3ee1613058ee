//! Every route that gateways can reach.

use std::sync::Arc;

use axum::Extension;
use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::middleware;
use axum::routing::get;
use axum::routing::post;

use super::ack;
use super::admin;
use super::boot;
use super::front::Front;
use super::generation;
use super::images;
use super::observe;
use super::report;
use super::routes;
use super::secrets;
use super::update;
use crate::server::app::Error;
use crate::server::edge::peer::Peer;
use crate::server::shown::shown;

/// Every route that gateways can reach.
pub(in crate::server) fn router(front: Arc<Front>) -> Router {
    Router::new()
        .route(routes::BOOT, get(boot::boot))
        .route(routes::GENERATION, get(generation::of_number))
        .route(routes::FILES, get(generation::of_current))
        .route(routes::ACK, get(ack::acknowledge).post(ack::acknowledge).head(ack::not_allowed))
        .route(routes::REPORT, post(report::report).fallback(report::not_post))
        .route(routes::HEALTHZ, get(watchdog))
        .route(routes::SECRETS, get(secrets::read).head(secrets::not_allowed))
        .route(routes::IMAGES, get(images::pull).fallback(images::not_read))
        .route(routes::IMAGES_AT_ALL, get(images::pull).fallback(images::not_read))
        .route(routes::UPDATE, post(update::update).fallback(update::not_post))
        .fallback(nothing)
        .layer(middleware::from_fn_with_state(front.clone(), observe::observe))
        .with_state(front)
}

/// A route for the watchdog alone, out of gateways' reach.
async fn watchdog(
    State(front): State<Arc<Front>>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
) -> Result<&'static str, Error> {
    match peer {
        Peer::Watchdog => admin::healthz(State(front)).await,
        Peer::Tls { .. } | Peer::Nginx | Peer::Admin { .. } => Err(nothing(uri).await),
    }
}

async fn nothing(uri: Uri) -> Error {
    Error::NotFound(format!("no route for {:?}", shown(uri.path())))
}
