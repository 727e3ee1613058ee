use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use axum::extract::Path;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::Method;
use axum::http::header;
use axum::response::Response;
use sha2::Digest;
use sha2::Sha256;
use tokio::fs::File;

use crate::fleet::Asset;
use crate::fleet::BOOT_SCRIPT;
use crate::fleet::Generation;
use crate::fleet::History;
use crate::fleet::MAX_SCRIPT_LEN;
use crate::fleet::SECRETS;
use crate::foreign::Foreign;
use crate::server::app::App;
use crate::server::asset;
use crate::server::asset::Content;
use crate::server::client::Client;
use crate::server::error::HttpError;
use crate::server::error::NO_STORE;
use crate::server::recorder::Recording;
use crate::server::recorder::Subject;
use crate::server::script::Prelude;
use crate::server::shown::shown;
use crate::store::blobs::Access;
use crate::store::blobs::Blobs;
use crate::store::blobs::Fault;
use crate::store::journal::Stage;

/// Of a client's `Range`, in the log: what iPXE and curl ask for has some 20 characters.
const LONGEST_RANGE: usize = 200;

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
        let (name, number) = (&client.gateway.name, shown(&number));
        HttpError::NotFound(format!("gateway {name} has no generation {number:?}"))
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
        let error = format!("generation {} has no file {:?}", generation.number, shown(path));
        app.recorder.record(&subject, Stage::Error { error: error.as_str().into() });
        return Err(HttpError::NotFound(format!("gateway {name}: {error}")));
    };
    let range = headers.get("range").and_then(|range| range.to_str().ok());
    tracing::info!(
        gateway = %name,
        generation = generation.number,
        %method,
        path,
        range = range.map(|range| Foreign::shorter(range, LONGEST_RANGE).to_string()),
        "asset"
    );
    app.at_hand(&client.gateway, asset, Access::Public).await?;
    if path == BOOT_SCRIPT {
        if let Some(secrets) = generation.files().get(SECRETS) {
            app.at_hand(&client.gateway, secrets, Access::Private).await?;
        }
        return send_script(app, client, subject, generation, asset, headers).await;
    }
    let damaged = |fault| unservable(app, client, &subject, generation, path, fault);
    let tag = asset.sha256.to_string();
    let found = blob(app, client, asset, Blobs::find).await?.map_err(&damaged)?;
    if client.behind_nginx
        && let Some(prefix) = &app.settings().accel
        // One that an older version kept as a secret: nginx would answer 403.
        && found.mode() & 0o004 != 0
    {
        let location = format!("{}/{}", prefix.as_str(), asset.sha256.path());
        let stage = Stage::FileByNginx { path: path.into(), size: asset.size };
        app.recorder.record(&subject, stage);
        return asset::redirect_to_nginx(headers, &tag, OCTETS, location);
    }
    let file =
        File::from_std(blob(app, client, asset, Blobs::open_whole).await?.map_err(&damaged)?);
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
    if asset.size > MAX_SCRIPT_LEN {
        // Nobody publishes one here; but another host's program may be another one.
        return Err(HttpError::Internal(anyhow::anyhow!(
            "gateway {}: {BOOT_SCRIPT} of generation {} is larger than {MAX_SCRIPT_LEN} bytes",
            client.gateway.name,
            generation.number
        )));
    }
    let operators = blob(app, client, asset, Blobs::read).await?;
    let operators = operators
        .map_err(|fault| unservable(app, client, &subject, generation, BOOT_SCRIPT, fault))?;
    let settings = app.settings();
    let (gateway, boot) = (&client.gateway, subject.boot);
    let prelude = Prelude {
        gateway: &gateway.name,
        fingerprint: &client.fingerprint,
        generation: generation.number,
        url: &settings.url,
        public_url: settings.public_url.as_ref(),
        ack_path: boot.map(|boot| app.ack_path(gateway, boot, &client.fingerprint)),
        secrets_path: app.secrets_path(gateway, client.fingerprint, generation, boot).await?,
        bucket: app.bucket(gateway, boot).await?,
    };
    let text = prelude.before(&operators);
    let tag = hex::encode(Sha256::digest(&text));
    let bytes = text.len() as u64;
    let path = BOOT_SCRIPT.to_owned();
    app.recorder.record(&subject, Stage::File { path: path.into(), size: bytes, bytes, millis: 0 });
    let mut response = asset::respond(headers, &tag, "text/plain", Content::Bytes(text)).await?;
    // It holds tokens, and keys.
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    Ok(response)
}

/// Looks at the blob of a file that gateways may have.
async fn blob<T: Send + 'static>(
    app: &App,
    client: &Client,
    asset: &Asset,
    look: impl FnOnce(&Blobs, &Asset) -> Result<T, Fault> + Send + 'static,
) -> Result<Result<T, Fault>, HttpError> {
    let (blobs, asset) = (app.generations.blobs_of(Access::Public).clone(), asset.clone());
    app.read(client.gateway.id.as_str(), move || Ok(look(&blobs, &asset))).await
}

/// A file that is not what it was: no answer is better than a wrong one, which would be cached
/// or booted. The gateway begins anew, or goes on to another boot host.
fn unservable(
    app: &App,
    client: &Client,
    subject: &Subject,
    generation: &Generation,
    path: &str,
    fault: Fault,
) -> HttpError {
    let (name, number) = (&client.gateway.name, generation.number);
    let error = format!("{path} of generation {number}: {fault}");
    app.recorder.record(subject, Stage::Error { error: error.as_str().into() });
    HttpError::Internal(anyhow::anyhow!(
        "gateway {name}: {error}; to publish its folder again mends it"
    ))
}
