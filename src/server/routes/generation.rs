use std::io::Read;
use std::sync::Arc;

use axum::extract::Path;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::Method;
use axum::response::Response;
use sha2::Digest;
use sha2::Sha256;
use tokio::fs::File;

use crate::server::app::App;
use crate::server::asset;
use crate::server::asset::Content;
use crate::server::client::Client;
use crate::server::error::HttpError;
use crate::server::script;
use crate::store::events::Asset;
use crate::store::events::BOOT_SCRIPT;
use crate::store::events::Generation;
use crate::store::events::MAX_SCRIPT_LEN;

/// `GET /g/<generation>/<path>`: a file of one generation of the gateway that asks.
///
/// `path` is looked up in the generation's list of files and is never part of a
/// file name, so there is nothing to be gained by `..` and its disguises.
pub(super) async fn of_number(
    State(app): State<Arc<App>>,
    client: Client,
    Path((number, path)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let history = app.history(&client.gateway).await?;
    // One address for one thing: neither "+1" nor "01".
    let canonical = number.parse().ok().filter(|parsed: &u64| parsed.to_string() == number);
    let generation = canonical.and_then(|number| history.generation(number));
    let generation = generation.ok_or_else(|| {
        HttpError::NotFound(format!("gateway {} has no generation {number:?}", client.gateway.name))
    })?;
    send(&app, &client, generation, &path, &method, &headers).await
}

/// `GET /files/<path>`: the same for the generation that the gateway gets now.
pub(super) async fn of_current(
    State(app): State<Arc<App>>,
    client: Client,
    Path(path): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let history = app.history(&client.gateway).await?;
    let name = &client.gateway.name;
    let generation = history.current().ok_or_else(|| HttpError::NothingPublished(name.clone()))?;
    send(&app, &client, generation, &path, &method, &headers).await
}

async fn send(
    app: &App,
    client: &Client,
    generation: &Generation,
    path: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, HttpError> {
    let name = &client.gateway.name;
    let asset = generation.asset(path).ok_or_else(|| {
        let number = generation.number;
        HttpError::NotFound(format!("generation {number} of gateway {name} has no file {path:?}"))
    })?;
    tracing::info!(
        gateway = %name,
        generation = generation.number,
        %method,
        path,
        range = headers.get("range").and_then(|range| range.to_str().ok()),
        "asset"
    );
    if path == BOOT_SCRIPT {
        return send_script(app, client, generation.number, asset, headers).await;
    }
    let tag = asset.sha256.to_string();
    if client.behind_nginx
        && let Some(prefix) = &app.accel
    {
        let location = format!("{}/{}", prefix.as_str(), asset.sha256.path());
        return asset::redirect_to_nginx(headers, &tag, OCTETS, location);
    }
    let file = open(app, asset).await?;
    asset::respond(headers, &tag, OCTETS, Content::File(File::from_std(file), asset.size)).await
}

const OCTETS: &str = "application/octet-stream";

async fn send_script(
    app: &App,
    client: &Client,
    generation: u64,
    asset: &Asset,
    headers: &HeaderMap,
) -> Result<Response, HttpError> {
    let mut file = open(app, asset).await?.take(MAX_SCRIPT_LEN);
    let mut operators = Vec::new();
    file.read_to_end(&mut operators).map_err(|error| HttpError::Internal(error.into()))?;
    let name = &client.gateway.name;
    let text = script::with_prelude(name, &client.fingerprint, generation, &operators);
    let tag = hex::encode(Sha256::digest(&text));
    asset::respond(headers, &tag, "text/plain", Content::Bytes(text)).await
}

async fn open(app: &App, asset: &Asset) -> Result<std::fs::File, HttpError> {
    let blobs = app.generations.blobs().clone();
    let id = asset.sha256;
    let opened = tokio::task::spawn_blocking(move || blobs.open(&id)).await;
    let file = opened.map_err(|error| HttpError::Internal(error.into()))?;
    file.map_err(|error| {
        HttpError::Internal(anyhow::Error::new(error).context(format!("cannot open blob {id}")))
    })
}
