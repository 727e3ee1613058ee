//! `GET /v2/...`: the pull part of the distribution specification
//! (<https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pull>), for the images
//! of the boot whose token the client has.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use headers::Authorization;
use headers::HeaderMapExt;
use headers::authorization::Basic;
use headers::authorization::Bearer;
use serde_json::json;

use super::asset;
use super::asset::Body;
use super::asset::Recording;
use super::error::NO_STORE;
use super::error::RETRY_AFTER;
use super::front::Front;
use super::front::Line;
use super::front::Whose;
use crate::server::app::App;
use crate::server::app::Content;
use crate::server::app::Error;
use crate::server::app::Image;
use crate::server::app::ImagePart;
use crate::server::app::ImageWish;
use crate::server::app::Reach;
use crate::server::edge::congestion::Congestion;
use crate::server::edge::peer;
use crate::server::edge::peer::Peer;

const OCTETS: &str = "application/octet-stream";

/// Older clients of Docker want this header, or they take the server for something else.
const API_VERSION: (&str, HeaderValue) =
    ("docker-distribution-api-version", HeaderValue::from_static("registry/2.0"));

/// Something of the images of a boot. The booted system has no client certificate; the boot's token
/// authenticates it.
pub(super) async fn pull(
    State(front): State<Arc<Front>>,
    uri: Uri,
    method: Method,
    peer: Option<Extension<Peer>>,
    congestion: Option<Extension<Congestion>>,
    headers: HeaderMap,
) -> Response {
    let mut response = match answer(&front, &uri, method, peer, congestion, &headers).await {
        Ok(response) => response,
        Err(error) => refuse(error),
    };
    response.headers_mut().insert(API_VERSION.0, API_VERSION.1);
    response
}

/// Nothing is pushed or deleted here.
pub(super) async fn not_read() -> Response {
    let mut response = failure(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "read-only");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

async fn answer(
    front: &Front,
    uri: &Uri,
    method: Method,
    peer: Option<Extension<Peer>>,
    congestion: Option<Extension<Congestion>>,
    headers: &HeaderMap,
) -> Result<Response, Error> {
    let token = token(headers).ok_or_else(|| Error::NotFound("no token".to_owned()))?;
    // Only whoever has a token of ours can hold up others who have one of the same gateway.
    let client = Whose::Gateway(front.app.gateway_of_boot(&token)?);
    let address = peer::address(peer.as_deref(), headers);
    let behind_nginx = matches!(peer.as_deref(), Some(Peer::Nginx));
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let range = range.map(str::to_owned);
    let path = uri.path().strip_prefix("/v2/").unwrap_or_default().to_owned();
    let work = move |app: &App, reach: Reach| {
        let Some(part) = part(&path) else { return Ok(Image::UnknownName) };
        let (method, range) = (method.as_str(), range.as_deref());
        let wish = ImageWish { part, method, range, address: &address, behind_nginx };
        app.image(&token, &wish, reach)
    };
    match front.answer_from_disk(Line::Reads, &client, work).await? {
        Image::Welcome => Ok(json_text(StatusCode::OK, "{}".to_owned())),
        Image::Tags { name, tags } => {
            Ok(json_text(StatusCode::OK, json!({"name": name, "tags": tags}).to_string()))
        }
        Image::Manifest { bytes, media_type, digest } => {
            let mut response = asset::respond(headers, &digest.hex(), OCTETS, Body::Bytes(bytes))?;
            if let Ok(media_type) = HeaderValue::try_from(media_type) {
                response.headers_mut().insert(header::CONTENT_TYPE, media_type);
            }
            Ok(with_digest(response, &digest.to_string()))
        }
        Image::Blob { path, content } => blob(front, headers, path, content, congestion),
        Image::UnknownName => Ok(unknown("NAME_UNKNOWN", "unknown repository")),
        Image::UnknownManifest => Ok(unknown("MANIFEST_UNKNOWN", "unknown manifest")),
        Image::UnknownBlob => Ok(unknown("BLOB_UNKNOWN", "unknown blob")),
    }
}

fn blob(
    front: &Front,
    headers: &HeaderMap,
    path: String,
    content: Content,
    congestion: Option<Extension<Congestion>>,
) -> Result<Response, Error> {
    let (response, sha256) = match content {
        Content::File { file, asset, subject } => {
            let (recorder, sent) = (front.app.recorder.clone(), front.app.counters.sent());
            let recording = Recording { recorder, subject, path, sent };
            let Extension(congestion) = congestion.unwrap_or_default();
            let body = Body::File { file, size: asset.size, recording, congestion };
            let tag = asset.sha256.to_string();
            (asset::respond(headers, &tag, OCTETS, body)?, tag)
        }
        Content::ByNginx { location, sha256 } => {
            let tag = sha256.to_string();
            (asset::redirect_to_nginx(headers, &tag, OCTETS, location)?, tag)
        }
        Content::Script(_) => return Ok(unknown("BLOB_UNKNOWN", "unknown blob")),
    };
    Ok(with_digest(response, &format!("sha256:{sha256}")))
}

fn with_digest(mut response: Response, digest: &str) -> Response {
    if let Ok(digest) = HeaderValue::try_from(digest) {
        response.headers_mut().insert("docker-content-digest", digest);
    }
    response
}

/// The boot's token: as a bearer's, or as the password of any user.
fn token(headers: &HeaderMap) -> Option<String> {
    if let Some(Authorization(bearer)) = headers.typed_get::<Authorization<Bearer>>() {
        return Some(bearer.token().to_owned());
    }
    let Authorization(basic) = headers.typed_get::<Authorization<Basic>>()?;
    Some(basic.password().to_owned())
}

/// The part that is asked for, by the path below `/v2/`.
fn part(path: &str) -> Option<ImagePart<'_>> {
    if path.is_empty() {
        return Some(ImagePart::Nothing);
    }
    let (rest, last) = path.rsplit_once('/')?;
    let (name, kind) = rest.rsplit_once('/')?;
    match kind {
        "manifests" => Some(ImagePart::Manifest { name, reference: last }),
        // A manifest is a blob, too; clients that do not know which it is ask for it as one.
        "blobs" => last.parse().ok().map(|digest| ImagePart::Blob { name, digest }),
        "tags" if last == "list" => Some(ImagePart::Tags { name }),
        _ => None,
    }
}

/// The error in the form of the specification. The reason is in the log.
fn refuse(error: Error) -> Response {
    // Whether a token was never made, ran out, or is of a gateway that is gone makes no difference.
    let is_token = matches!(error, Error::NotFound(_));
    let was = error.into_response();
    let status = if is_token { StatusCode::UNAUTHORIZED } else { was.status() };
    let (code, message) = match status {
        StatusCode::UNAUTHORIZED => ("UNAUTHORIZED", "a boot's token is needed"),
        StatusCode::FORBIDDEN => ("DENIED", "denied"),
        StatusCode::SERVICE_UNAVAILABLE => ("TOOMANYREQUESTS", "try again later"),
        _ => ("UNKNOWN", "the boot host failed"),
    };
    let mut response = failure(status, code, message);
    *response.extensions_mut() = was.extensions().clone();
    let headers = response.headers_mut();
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"farmgate\"");
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    response
}

fn unknown(code: &str, message: &str) -> Response {
    failure(StatusCode::NOT_FOUND, code, message)
}

fn failure(status: StatusCode, code: &str, message: &str) -> Response {
    let errors = json!({"errors": [{"code": code, "message": message}]});
    json_text(status, errors.to_string())
}

fn json_text(status: StatusCode, text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, NO_STORE),
    ];
    (status, headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::profile::reference::Digest;

    #[test]
    fn a_path_ends_with_what_is_asked_for() {
        let digest = Digest::of(b"");
        let blob = format!("a.b_5000/blobs/manifests/blobs/{digest}");
        let (name, reference) = ("a.b_5000/blobs/manifests", "v12");
        assert_eq!(part(""), Some(ImagePart::Nothing));
        assert_eq!(part(&blob), Some(ImagePart::Blob { name, digest }));
        let manifest = "a.b_5000/blobs/manifests/manifests/v12";
        assert_eq!(part(manifest), Some(ImagePart::Manifest { name, reference }));
        assert_eq!(part("a/tags/list"), Some(ImagePart::Tags { name: "a" }));
        for nothing in ["_catalog", "a", "manifests/v12", "a/blobs/x", "a/tags/x", "a/uploads/"] {
            assert_eq!(part(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_token_is_a_bearers_or_a_password() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            token(&headers)
        };
        assert_eq!(of("Bearer a.b.c").as_deref(), Some("a.b.c"));
        assert_eq!(of("Basic YW55Ym9keTphLmIuYw==").as_deref(), Some("a.b.c"));
        for none in ["Digest a", "Basic !", "Basic YQ=="] {
            assert_eq!(of(none), None, "{none}");
        }
        assert_eq!(token(&HeaderMap::new()), None);
    }

    proptest! {
        #[test]
        fn no_path_makes_it_panic(path in "[a-z/.%:]{0,40}") {
            let _ = part(&path);
        }
    }
}
