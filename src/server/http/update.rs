//! `POST /update-cfg`: a forge says that something was pushed. Starts a look at the git repository.
//!
//! Whoever has no certificate can come here, so a stranger's request costs little: one secret is
//! read, at most so many bodies are taken at a time, and each is short and has to come soon.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::Response;

use super::body;
use super::error::MUCH_LATER;
use super::error::say;
use super::front::Front;
use crate::server::app::App;
use crate::server::app::Error;
use crate::server::app::Refusal;
use crate::server::app::Result;
use crate::store::files;
use crate::sync::webhook::CREDENTIAL;
use crate::sync::webhook::Headers;
use crate::sync::webhook::MOST_BYTES;
use crate::sync::webhook::SHORTEST_SECRET;
use crate::sync::webhook::Verdict;

/// Longest wait for a body.
const PATIENCE: Duration = Duration::from_secs(10);

/// Hears a forge.
pub(super) async fn update(
    State(front): State<Arc<Front>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let settings = front.app.settings();
    let config = &settings.state.config().sync;
    if config.remote.is_none() {
        return Err(nothing());
    }
    let busy = |_| Error::Busy("too many requests to /update-cfg at a time".to_owned());
    let _place = front.bell.room.try_acquire().map_err(busy)?;
    let Some(secret) = front.for_operators(secret).await? else { return Err(nothing()) };
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if declared
        .and_then(|length| length.parse().ok())
        .is_some_and(|length: usize| length > MOST_BYTES)
    {
        return Ok(say(StatusCode::PAYLOAD_TOO_LARGE));
    }
    let body = match body::read(body, MOST_BYTES, PATIENCE).await {
        Ok(body) => body,
        Err(status) => return Ok(say(status)),
    };
    let one = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let said = Headers {
        signature: one("x-hub-signature-256"),
        token: one("x-gitlab-token"),
        event: one("x-github-event").or_else(|| one("x-gitlab-event")),
        content_type: one(header::CONTENT_TYPE.as_str()),
    };
    let verdict = {
        let mut hooks = front.bell.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        if front.bell.wakers.sync_failed.swap(false, Ordering::Relaxed) {
            hooks.forget();
        }
        hooks.judge(&secret, &config.branch, said, &body, Instant::now())
    };
    match verdict {
        Verdict::Look => {
            // Wakes once, however many ask while a look runs.
            front.bell.wakers.sync.notify_one();
            Ok(say(StatusCode::ACCEPTED))
        }
        Verdict::Nothing => Ok(say(StatusCode::OK)),
        Verdict::TooMany => {
            let mut response = say(StatusCode::TOO_MANY_REQUESTS);
            response.headers_mut().insert(header::RETRY_AFTER, MUCH_LATER);
            Ok(response)
        }
        Verdict::Malformed => Ok(say(StatusCode::BAD_REQUEST)),
        Verdict::Refused => Err(Refusal::Webhook.into()),
    }
}

/// The secret that forges sign with, if there is one.
fn secret(app: &App) -> Result<Option<String>> {
    let settings = app.settings();
    let config = &settings.state.config().sync;
    let systemd = settings.credentials.as_deref();
    let read = files::read_secret(config.webhook_secret.as_deref(), systemd, CREDENTIAL)?;
    let Some((path, text)) = read else { return Ok(None) };
    let secret = text.trim();
    if secret.len() < SHORTEST_SECRET {
        tracing::error!(
            "{} is shorter than {SHORTEST_SECRET} characters: no forge is heard until it holds a \
             secret such as `openssl rand -hex 32` makes",
            path.display()
        );
        return Ok(None);
    }
    Ok(Some(secret.to_owned()))
}

/// The same answer as for a route that does not exist.
pub(super) fn nothing() -> Error {
    Error::NotFound("no forge is expected: [sync] webhook-secret names no secret".to_owned())
}

/// Another method than `POST`.
pub(super) async fn not_post() -> Error {
    Error::NotFound("/update-cfg takes POST".to_owned())
}
