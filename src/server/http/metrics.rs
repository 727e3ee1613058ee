//! `GET /metrics`, in the text format of Prometheus.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use prometheus_client::encoding::prometheus_text;

use super::error::internal;
use super::front::Front;
use crate::server::app::Error;
use crate::server::metrics::fleet::Fleet;

pub(super) async fn show(State(front): State<Arc<Front>>) -> Result<Response, Error> {
    let booting = front.app.running_boots();
    let fleet = front.for_operators(|app| Ok(Fleet::read(app)?)).await?;
    let text = fleet.encode(&front.app.counters, booting).map_err(internal)?;
    Ok(([(header::CONTENT_TYPE, prometheus_text::CONTENT_TYPE)], text).into_response())
}
