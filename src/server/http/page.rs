//! The status page, its files, and the stream of changes: everything that a browser asks of the
//! admin listener. All of it only reads.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::extract::Query;
use axum::extract::Request;
use axum::extract::State;
use axum::extract::rejection::QueryRejection;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::middleware;
use axum::middleware::Next;
use axum::response::Html;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::response::sse::Event;
use axum::response::sse::Sse;
use axum::routing::get;
use futures_util::stream;
use time::OffsetDateTime;
use tokio::sync::broadcast::error::RecvError;

use super::error::NO_STORE;
use super::error::RETRY_AFTER;
use super::error::internal;
use super::front::blocking;
use crate::identity::GatewayName;
use crate::server::app::Result;
use crate::server::board::Board;
use crate::server::board::Watcher;
use crate::server::facts;
use crate::server::page;
use crate::server::page::assets;
use crate::server::page::json;
use crate::server::page::query::Raw;
use crate::store::consoles::Consoles;

/// Nothing from elsewhere, nothing inline, nobody's frame.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// For files whose address has their version.
const FOR_GOOD: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

pub(super) fn router(board: Arc<Board>) -> Router {
    Router::new()
        .route("/", get(fleet))
        .route("/gateways/{name}", get(gateway))
        .route("/rollouts", get(rollouts))
        .route("/events", get(events))
        .route("/api/v1/gateways", get(all_as_json))
        .route("/api/v1/gateways/{name}", get(one_as_json))
        .route("/assets/page.css", get(|| file("text/css; charset=utf-8", assets::STYLE)))
        .route("/assets/page.js", get(|| file("text/javascript; charset=utf-8", assets::SCRIPT)))
        .route("/assets/sign.svg", get(|| file("image/svg+xml", assets::SIGN)))
        .layer(middleware::from_fn(protect))
        .with_state(board)
}

/// Headers that keep other pages away, and keep what is shown out of caches. Pages of other sites
/// could read no answer, but they could keep the server busy: only a link may come from them.
async fn protect(request: Request, next: Next) -> Response {
    let mut response = if is_of_another_site(request.headers()) {
        (StatusCode::FORBIDDEN, "403 Forbidden\n").into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    let nosniff = HeaderValue::from_static("nosniff");
    let same_origin = HeaderValue::from_static("same-origin");
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    for name in ["cross-origin-opener-policy", "cross-origin-resource-policy"] {
        headers.insert(HeaderName::from_static(name), same_origin.clone());
    }
    headers.entry(header::CACHE_CONTROL).or_insert(NO_STORE);
    response
}

/// The browser's word about the request (Fetch Metadata).
fn is_of_another_site(headers: &HeaderMap) -> bool {
    let says = |name: &str, text: &str| headers.get(name).is_some_and(|value| value == text);
    says("sec-fetch-site", "cross-site") && !says("sec-fetch-mode", "navigate")
}

async fn file(kind: &'static str, text: &'static str) -> Response {
    (
        [(header::CONTENT_TYPE, HeaderValue::from_static(kind)), (header::CACHE_CONTROL, FOR_GOOD)],
        text,
    )
        .into_response()
}

/// `GET /`: the fleet. A query that makes no sense means the whole fleet.
async fn fleet(
    State(board): State<Arc<Board>>,
    query: std::result::Result<Query<Raw>, QueryRejection>,
) -> Result<Html<String>> {
    let query = query.map(|Query(raw)| raw.into()).unwrap_or_default();
    on_disk(board, move |board| Ok(Html(page::fleet::page(&*board.fleet()?, &query)))).await
}

/// `GET /gateways/NAME`.
async fn gateway(State(board): State<Arc<Board>>, Path(name): Path<String>) -> Result<Response> {
    on_disk(board, move |board| {
        let now = OffsetDateTime::now_utc();
        let details = match name.parse::<GatewayName>() {
            Ok(name) => facts::details(board.app(), board.stages(), &name)?,
            Err(_) => None,
        };
        Ok(match details {
            Some(details) => Html(page::gateway::page(&details, now)).into_response(),
            None => (StatusCode::NOT_FOUND, Html(page::document::not_found(now))).into_response(),
        })
    })
    .await
}

/// `GET /rollouts`.
async fn rollouts(State(board): State<Arc<Board>>) -> Result<Html<String>> {
    on_disk(board, |board| {
        let rollouts = facts::all_rollouts(board.app())?;
        Ok(Html(page::rollouts::page(&rollouts, OffsetDateTime::now_utc())))
    })
    .await
}

/// `GET /api/v1/gateways`.
async fn all_as_json(State(board): State<Arc<Board>>) -> Result<Response> {
    let text = on_disk(board, |board| json::fleet(&*board.fleet()?).map_err(internal)).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

/// `GET /api/v1/gateways/NAME`.
async fn one_as_json(
    State(board): State<Arc<Board>>,
    Path(name): Path<String>,
) -> Result<Response> {
    let text = on_disk(board, move |board| {
        let fleet = board.fleet()?;
        let row = fleet.rows.iter().find(|row| row.gateway.name == name);
        let Some(row) = row else { return Ok(None) };
        let id = row.gateway.id.as_ref();
        let kept = Consoles::new(&board.app().settings().state);
        let consoles = id.and_then(|id| kept.read(id).ok()).unwrap_or_default();
        json::gateway(row, &consoles).map(Some).map_err(internal)
    })
    .await?;
    Ok(match text {
        Some(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        None => (StatusCode::NOT_FOUND, "404 Not Found\n").into_response(),
    })
}

/// `GET /events`: what changes, as server-sent events.
async fn events(State(board): State<Arc<Board>>) -> Result<Response> {
    let watcher = on_disk(board, |board| Ok(board.watch()?)).await?;
    let Some(Watcher { messages, hello }) = watcher else {
        let headers = [(header::RETRY_AFTER, RETRY_AFTER)];
        let text = "503 too many open pages\n";
        return Ok((StatusCode::SERVICE_UNAVAILABLE, headers, text).into_response());
    };
    let hello = Event::default().event("hello").data(hello);
    let changes = stream::unfold(messages, |mut messages| async move {
        let event = match messages.recv().await {
            Ok(message) => Event::default().event("change").data(&*message),
            // A browser that did not keep up loads the page again.
            Err(RecvError::Lagged(_)) => {
                Event::default().event("change").data(r#"{"reload":true}"#)
            }
            Err(RecvError::Closed) => return None,
        };
        Some((Ok::<_, Infallible>(event), messages))
    });
    let all = futures_util::StreamExt::chain(stream::iter([Ok(hello)]), changes);
    Ok(Sse::new(all).into_response())
}

async fn on_disk<T: Send + 'static>(
    board: Arc<Board>,
    work: impl FnOnce(&Arc<Board>) -> Result<T> + Send + 'static,
) -> Result<T> {
    blocking(move || work(&board)).await?
}
