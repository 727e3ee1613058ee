//! What operators and their monitoring ask, on a listener of its own that gateways
//! cannot reach.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use super::app::App;
use super::error::HttpError;

/// Every route of the admin listener.
pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(|| async { (StatusCode::NOT_FOUND, "404 Not Found\n") })
        .with_state(app)
}

/// `GET /healthz`: the server answers, and so does its disk.
pub(super) async fn healthz(State(app): State<Arc<App>>) -> Result<&'static str, HttpError> {
    app.touch().await?;
    Ok("ok\n")
}

/// `GET /readyz`: gateways can boot, or why they cannot.
async fn readyz(State(app): State<Arc<App>>) -> Result<(StatusCode, String), HttpError> {
    app.touch().await?;
    let problems = app.problems().await?;
    Ok(if problems.is_empty() {
        // Gateways can boot without the common store, so it is only told of.
        let store = app.store_status().map_or_else(String::new, |store| store + "\n");
        (StatusCode::OK, format!("ready\n{store}"))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, problems.join("\n") + "\n")
    })
}
