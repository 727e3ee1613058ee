//! What operators and their monitoring ask, on a listener of its own that gateways
//! cannot reach.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use super::app::App;
use super::error::HttpError;
use super::metrics;

/// Every route of the admin listener.
pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics::show))
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
    let mut problems = app.problems().await?;
    let files = app.files().await?;
    problems.extend(files.problems);
    Ok(if problems.is_empty() {
        // A boot waits for no bucket and not for the common store: so they keep nobody from
        // booting, and are only told of.
        let store = app.store_status().map_or_else(String::new, |store| store + "\n");
        let warnings = app.bucket_warnings().await?;
        let lines =
            files.warnings.iter().chain(&warnings).map(|warning| format!("warning: {warning}\n"));
        (StatusCode::OK, format!("ready\n{store}{}", lines.collect::<String>()))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, problems.join("\n") + "\n")
    })
}
