//! `GET /boot/ipxe`.

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

use super::client::Asking;
use super::error::NO_STORE;
use super::error::internal;
use super::front::Front;
use super::front::Line;
use super::front::Whose;
use crate::fleet::BOOT_SCRIPT;
use crate::foreign::Foreign;
use crate::server::app::Error;
use crate::server::app::Labels;

/// Longest value of a label in the log.
const MAX_LABEL: usize = 64;

/// The first request of every boot. Redirects to the boot script of the gateway's generation. Names
/// in the script are relative to it, so a running boot keeps its generation whatever is published
/// meanwhile.
///
/// iPXE's description of itself in the query is logged and decides nothing.
pub(super) async fn boot(
    State(front): State<Arc<Front>>,
    asking: Asking,
    labels: Result<Query<HashMap<String, String>>, QueryRejection>,
) -> Result<Response, Error> {
    let label = |key: &str| -> Foreign {
        let value = labels.as_ref().ok().and_then(|Query(labels)| labels.get(key));
        value.map_or_else(Foreign::default, |value| Foreign::shorter(value, MAX_LABEL))
    };
    let labels =
        Labels { mac: label("mac"), platform: label("platform"), version: label("version") };
    let client = Whose::Certificate(asking.fingerprint());
    let number = front.answer_from_disk(Line::Writes, &client, move |app, reach| {
        app.begin_boot(&asking.authenticate(app, reach)?, labels.clone())
    });
    let location = format!("/g/{}/{BOOT_SCRIPT}", number.await?);
    let location = HeaderValue::try_from(location).map_err(internal)?;
    let headers = [(header::CACHE_CONTROL, NO_STORE), (header::LOCATION, location)];
    Ok((StatusCode::FOUND, headers).into_response())
}
