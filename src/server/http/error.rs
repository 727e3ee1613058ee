//! Maps errors to HTTP answers. The client gets the status and a fixed phrase; the reason goes to
//! the log.

use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::server::app::Error;

/// `Retry-After`, in seconds, for what is being fetched or busy.
pub(super) const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// The same for whoever says too much.
pub(super) const MUCH_LATER: HeaderValue = HeaderValue::from_static("60");

/// `Cache-Control` of answers for one client at one time.
pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The reason for a refusal: for the counters, never for the client.
#[derive(Clone, Copy)]
pub(super) struct RefusedFor(pub(super) &'static str);

fn status(error: &Error) -> StatusCode {
    match error {
        Error::Refused(_) => StatusCode::FORBIDDEN,
        Error::NotFound(_) | Error::NothingPublished(_) => StatusCode::NOT_FOUND,
        Error::Malformed(_) => StatusCode::BAD_REQUEST,
        Error::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
        Error::Elsewhere(..) | Error::NotYet(_) | Error::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
        Error::Cold | Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = status(&self);
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!("{self}");
        } else {
            tracing::warn!("{self}");
        }
        let mut response = say(status);
        if let Self::Refused(refusal) = &self {
            response.extensions_mut().insert(RefusedFor(refusal.reason()));
        }
        if matches!(self, Self::TooMany(_)) {
            response.headers_mut().insert(header::RETRY_AFTER, MUCH_LATER);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            // iPXE waits that long and retries; the script does not notice.
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

/// A status, and nothing else.
pub(super) fn say(status: StatusCode) -> Response {
    (status, [(header::CACHE_CONTROL, NO_STORE)], format!("{status}\n")).into_response()
}

/// An internal error without an `anyhow::Error`.
pub(super) fn internal(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Internal(error.into())
}
