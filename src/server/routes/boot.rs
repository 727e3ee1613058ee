use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::Query;
use axum::extract::State;
use axum::extract::rejection::QueryRejection;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::fleet::BOOT_SCRIPT;
use crate::foreign::Foreign;
use crate::server::app::App;
use crate::server::client::Client;
use crate::server::error::HttpError;
use crate::server::error::NO_STORE;
use crate::store::journal::Stage;

/// Longest value of a label that is logged.
const MAX_LABEL: usize = 64;

/// `GET /boot/ipxe`: the first request of every boot. Leads to the boot script of
/// the generation that the gateway gets; names in it are relative to there, so a
/// boot that has begun stays with its generation whatever is published meanwhile.
///
/// What iPXE says of itself in the query is logged and decides nothing.
pub(super) async fn boot(
    State(app): State<Arc<App>>,
    client: Client,
    labels: Result<Query<HashMap<String, String>>, QueryRejection>,
) -> Result<Response, HttpError> {
    let name = &client.gateway.name;
    let decision = app.begin_boot(&client.gateway, client.fingerprint).await?;
    let Some((decision, boot)) = decision else {
        let error = "nothing is published".into();
        app.recorder.record(&client.subject(None), Stage::Error { error });
        return Err(HttpError::NothingPublished(name.clone()));
    };
    let generation = decision.generation.number;
    let label = |key: &str| -> Foreign {
        let value = labels.as_ref().ok().and_then(|Query(labels)| labels.get(key));
        value.map_or_else(Foreign::default, |value| Foreign::shorter(value, MAX_LABEL))
    };
    tracing::info!(
        gateway = %name,
        generation,
        reason = %decision.reason,
        mac = label("mac").as_str(),
        platform = label("platform").as_str(),
        ipxe = label("version").as_str(),
        "boot"
    );
    let stage = Stage::Boot {
        generation,
        reason: decision.reason.to_string(),
        mac: label("mac"),
        platform: label("platform"),
        ipxe: label("version"),
    };
    app.recorder.record(&client.subject(boot), stage);
    let location = format!("/g/{generation}/{BOOT_SCRIPT}");
    let location = HeaderValue::try_from(location).map_err(|e| HttpError::Internal(e.into()))?;
    let headers = [(header::CACHE_CONTROL, NO_STORE), (header::LOCATION, location)];
    Ok((StatusCode::FOUND, headers).into_response())
}
