use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;

use super::metrics::RefusedFor;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;
use crate::identity::HeaderError;
use crate::identity::VerifyError;
use crate::store::lock::Busy;

/// Seconds until what is on its way, or busy, is worth another try.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// `Cache-Control` of what is for one client at one time.
pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Why a request got no answer. The client learns the status and a fixed
/// phrase; the reason goes to the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// Who asks may not have it, or has not proved who it is.
    #[error("refused: {0}")]
    Forbidden(#[from] Refusal),
    /// There is no such thing for this gateway.
    #[error("not found: {0}")]
    NotFound(String),
    /// Nothing was ever published for this gateway.
    #[error("nothing is published for gateway {0}")]
    NothingPublished(GatewayName),
    /// There is such a file, but it is not here yet.
    #[error("not here yet: {0}")]
    NotYet(String),
    /// Somebody else has been at it for too long, or too many want it at once.
    #[error("busy: {0}")]
    Busy(String),
    /// Our fault.
    #[error("{0:#}")]
    Internal(anyhow::Error),
}

/// Why a client is not let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("no client certificate")]
    NoCertificate,
    #[error("nginx does not have the configuration that `farmgate nginx-config` prints")]
    NoProxyMark,
    #[error("{0}")]
    Header(#[from] HeaderError),
    #[error("client certificate: {0}")]
    Verify(#[from] VerifyError),
    #[error("certificate {0} belongs to no gateway")]
    Unknown(Fingerprint),
    #[error("certificate {fingerprint} of gateway {gateway} is revoked")]
    Revoked { gateway: GatewayName, fingerprint: Fingerprint },
}

impl Refusal {
    /// Every [`Self::reason`].
    pub(super) const REASONS: [&str; 6] =
        ["no-certificate", "no-proxy-mark", "header", "verify", "unknown", "revoked"];

    /// In a word, for monitoring.
    fn reason(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no-certificate",
            Self::NoProxyMark => "no-proxy-mark",
            Self::Header(_) => "header",
            Self::Verify(_) => "verify",
            Self::Unknown(_) => "unknown",
            Self::Revoked { .. } => "revoked",
        }
    }
}

impl HttpError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) | Self::NothingPublished(_) => StatusCode::NOT_FOUND,
            Self::NotYet(_) | Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<anyhow::Error> for HttpError {
    fn from(error: anyhow::Error) -> Self {
        if Busy::is_cause_of(&error) {
            Self::Busy(format!("{error:#}"))
        } else {
            Self::Internal(error)
        }
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let status = self.status();
        match &self {
            Self::Internal(_) => tracing::error!("{self}"),
            Self::Forbidden(_)
            | Self::NotFound(_)
            | Self::NothingPublished(_)
            | Self::NotYet(_)
            | Self::Busy(_) => {
                tracing::warn!("{self}");
            }
        }
        let mut response = (status, format!("{status}\n")).into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
        if let Self::Forbidden(refusal) = &self {
            response.extensions_mut().insert(RefusedFor(refusal.reason()));
        }
        if matches!(self, Self::NotYet(_) | Self::Busy(_)) {
            // iPXE waits that long, and asks again, without the script hearing of it.
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}
