//! `GET /g/<generation>/<path>` and `GET /files/<path>`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::Path;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::Method;
use axum::http::header;
use axum::response::Response;
use sha2::Digest;
use sha2::Sha256;

use super::asset;
use super::asset::Body;
use super::asset::Recording;
use super::client::Asking;
use super::error::NO_STORE;
use super::front::Front;
use super::front::Line;
use super::front::Whose;
use crate::fleet::BOOT_SCRIPT;
use crate::server::app::App;
use crate::server::app::Content;
use crate::server::app::Error;
use crate::server::app::Number;
use crate::server::app::Reach;
use crate::server::app::Wish;
use crate::server::edge::congestion::Congestion;

const OCTETS: &str = "application/octet-stream";

/// A file of a numbered generation of the client's gateway.
pub(super) async fn of_number(
    State(front): State<Arc<Front>>,
    asking: Asking,
    Path((number, path)): Path<(String, String)>,
    method: Method,
    congestion: Option<Extension<Congestion>>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let wanted = Wanted { number: Some(number), path, method, congestion };
    send(&front, asking, wanted, &headers).await
}

/// A file of the generation that the running boot was sent to, or else the current one.
pub(super) async fn of_current(
    State(front): State<Arc<Front>>,
    asking: Asking,
    Path(path): Path<String>,
    method: Method,
    congestion: Option<Extension<Congestion>>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let wanted = Wanted { number: None, path, method, congestion };
    send(&front, asking, wanted, &headers).await
}

/// The parts of a request for a file.
struct Wanted {
    number: Option<String>,
    path: String,
    method: Method,
    congestion: Option<Extension<Congestion>>,
}

async fn send(
    front: &Front,
    asking: Asking,
    wanted: Wanted,
    headers: &HeaderMap,
) -> Result<Response, Error> {
    let Wanted { number, path, method, congestion } = wanted;
    // A script grants a lease.
    let line = if path == BOOT_SCRIPT { Line::Writes } else { Line::Reads };
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let range = range.map(str::to_owned);
    let client = Whose::Certificate(asking.fingerprint());
    let (recorded, sent) = (path.clone(), front.app.counters.sent());
    let work = move |app: &App, reach: Reach| {
        let client = asking.authenticate(app, reach)?;
        let generation = number.as_deref().map(Number);
        let (path, method, range) = (path.as_str(), method.as_str(), range.as_deref());
        app.file(&client, &Wish { generation, path, method, range }, reach)
    };
    match front.answer(line, &client, work).await? {
        Content::Script(text) => {
            let tag = hex::encode(Sha256::digest(&text));
            let mut response = asset::respond(headers, &tag, "text/plain", Body::Bytes(text))?;
            // It contains tokens and keys.
            response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
            Ok(response)
        }
        Content::File { file, asset, subject } => {
            let recorder = front.app.recorder.clone();
            let recording = Recording { recorder, subject, path: recorded, sent };
            let Extension(congestion) = congestion.unwrap_or_default();
            let body = Body::File { file, size: asset.size, recording, congestion };
            asset::respond(headers, &asset.sha256.to_string(), OCTETS, body)
        }
        Content::ByNginx { location, sha256 } => {
            asset::redirect_to_nginx(headers, &sha256.to_string(), OCTETS, location)
        }
    }
}
