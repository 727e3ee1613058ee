//! Bodies of requests, which must be short and come soon.

use std::time::Duration;

use axum::body::Body;
use axum::body::Bytes;
use axum::http::StatusCode;
use http_body_util::BodyExt;
use http_body_util::Limited;

/// Reads a body of at most `most` bytes. Fails with the status to answer.
pub(super) async fn read(body: Body, most: usize, patience: Duration) -> Result<Bytes, StatusCode> {
    match tokio::time::timeout(patience, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}
