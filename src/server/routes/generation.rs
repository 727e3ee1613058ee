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
use crate::server::recorder::Recording;
use crate::server::recorder::Subject;
use crate::server::script::Prelude;
use crate::store::events::Asset;
use crate::store::events::BOOT_SCRIPT;
use crate::store::events::MAX_SCRIPT_LEN;
use crate::store::events::SECRETS;
use crate::store::history::Generation;
use crate::store::history::History;
use crate::store::journal::Stage;

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
    let generation = canonical.and_then(|number| app.meant(&client.gateway, &history, number));
    let generation = generation.ok_or_else(|| {
        HttpError::NotFound(format!("gateway {} has no generation {number:?}", client.gateway.name))
    })?;
    send(&app, &client, &history, generation, &path, &method, &headers).await
}

/// `GET /files/<path>`: the same for the generation that the gateway was sent to, or
/// the current one.
pub(super) async fn of_current(
    State(app): State<Arc<App>>,
    client: Client,
    Path(path): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let history = app.history(&client.gateway).await?;
    let name = &client.gateway.name;
    let generation = history.in_use(app.begun(&client.gateway));
    let generation = generation.ok_or_else(|| HttpError::NothingPublished(name.clone()))?;
    send(&app, &client, &history, generation, &path, &method, &headers).await
}

async fn send(
    app: &Arc<App>,
    client: &Client,
    history: &History,
    generation: &Arc<Generation>,
    path: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, HttpError> {
    let name = &client.gateway.name;
    let boot = history.boot_of(generation.number, app.begun(&client.gateway));
    let subject = client.subject(boot);
    let Some(asset) = generation.asset(path) else {
        let error = format!("generation {} has no file {path:?}", generation.number);
        app.recorder.record(&subject, Stage::Error { error: error.as_str().into() });
        return Err(HttpError::NotFound(format!("gateway {name}: {error}")));
    };
    tracing::info!(
        gateway = %name,
        generation = generation.number,
        %method,
        path,
        range = headers.get("range").and_then(|range| range.to_str().ok()),
        "asset"
    );
    app.at_hand(asset, false).await?;
    if path == BOOT_SCRIPT {
        if let Some(secrets) = generation.files().get(SECRETS) {
            app.at_hand(secrets, true).await?;
        }
        return send_script(app, client, subject, generation, asset, headers).await;
    }
    let tag = asset.sha256.to_string();
    if client.behind_nginx
        && let Some(prefix) = &app.settings().accel
    {
        let location = format!("{}/{}", prefix.as_str(), asset.sha256.path());
        let stage = Stage::FileByNginx { path: path.into(), size: asset.size };
        app.recorder.record(&subject, stage);
        return asset::redirect_to_nginx(headers, &tag, OCTETS, location);
    }
    let file = File::from_std(open(app, asset).await?);
    let (recorder, path, sent) = (app.recorder.clone(), path.to_owned(), app.metrics.sent());
    let recording = Recording { recorder, subject, path, sent };
    let content = Content::File { file, size: asset.size, recording };
    asset::respond(headers, &tag, OCTETS, content).await
}

const OCTETS: &str = "application/octet-stream";

async fn send_script(
    app: &Arc<App>,
    client: &Client,
    subject: Subject,
    generation: &Arc<Generation>,
    asset: &Asset,
    headers: &HeaderMap,
) -> Result<Response, HttpError> {
    let mut file = open(app, asset).await?.take(MAX_SCRIPT_LEN);
    let mut operators = Vec::new();
    file.read_to_end(&mut operators).map_err(|error| HttpError::Internal(error.into()))?;
    let settings = app.settings();
    let (gateway, boot) = (&client.gateway, subject.boot);
    let prelude = Prelude {
        gateway: &gateway.name,
        fingerprint: &client.fingerprint,
        generation: generation.number,
        url: &settings.url,
        public_url: settings.public_url.as_ref(),
        ack_path: boot.map(|boot| app.ack_path(gateway, boot)),
        secrets_path: app.secrets_path(gateway, client.fingerprint, generation, boot).await?,
        bucket: app.bucket(gateway, boot).await?,
    };
    let text = prelude.before(&operators);
    let tag = hex::encode(Sha256::digest(&text));
    let bytes = text.len() as u64;
    let path = BOOT_SCRIPT.to_owned();
    app.recorder.record(&subject, Stage::File { path: path.into(), size: bytes, bytes, millis: 0 });
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
