//! Routes for operators and their monitoring, on a separate listener that gateways cannot reach.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::http::uri::Authority;
use axum::middleware;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;

use super::front::Front;
use super::metrics;
use super::page;
use crate::config::AdminHost;
use crate::server::app::App;
use crate::server::app::Error;
use crate::server::board::Board;
use crate::server::edge::peer::Peer;

/// Every route of the admin listener.
pub(in crate::server) fn router(front: Arc<Front>, board: Arc<Board>) -> Router {
    let guard = middleware::from_fn_with_state(front.clone(), only_from_here);
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics::show))
        .with_state(front)
        .merge(page::router(board))
        .fallback(|| async { (StatusCode::NOT_FOUND, "404 Not Found\n") })
        .layer(guard)
}

/// Keeps web pages out. A page in a browser on this machine can make the name of its own server
/// resolve to the loopback (DNS rebinding) and then read what it asks for. Its requests still name
/// that server. Names of a proxy are those that the configuration lists, and no others.
async fn only_from_here(State(front): State<Arc<Front>>, request: Request, next: Next) -> Response {
    let named = request.headers().get_all(header::HOST).iter().map(HeaderValue::as_bytes);
    let target = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let named: Vec<&[u8]> = named.chain(target).collect();
    // As they are since the last reload.
    let settings = front.app.settings();
    let hosts = &settings.listen.admin_hosts;
    match request.extensions().get() {
        Some(Peer::Admin { unix: false })
            if named.is_empty() || !named.iter().all(|host| is_here(host, hosts)) =>
        {
            let how = "421 Misdirected Request: ask localhost, 127.0.0.1, [::1] or a name in [listen] \
                       admin-hosts\n";
            (StatusCode::MISDIRECTED_REQUEST, how).into_response()
        }
        _ => next.run(request).await,
    }
}

/// Says whether `host` is the loopback or one of `named`, with any port.
fn is_here(host: &[u8], named: &[AdminHost]) -> bool {
    let Ok(authority) = Authority::try_from(host) else { return false };
    let host = authority.host();
    if authority.as_str().contains('@') {
        return false;
    }
    if named.iter().any(|named| named.is(host)) {
        return true;
    }
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    match address {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// `GET /healthz`: 200 if the server answers, and so does its disk.
pub(super) async fn healthz(State(front): State<Arc<Front>>) -> Result<&'static str, Error> {
    front.for_operators(App::touch).await?;
    Ok("ok\n")
}

/// `GET /readyz`: 200 if gateways can boot, otherwise the reasons.
async fn readyz(State(front): State<Arc<Front>>) -> Result<(StatusCode, String), Error> {
    front.for_operators(ready).await
}

fn ready(app: &App) -> Result<(StatusCode, String), Error> {
    app.touch()?;
    let mut problems = app.problems()?;
    let files = app.look_for_files()?;
    problems.extend(files.problems);
    if !problems.is_empty() {
        return Ok((StatusCode::SERVICE_UNAVAILABLE, problems.join("\n") + "\n"));
    }
    // A boot waits for no bucket and not for the shared store. So their faults keep nobody from
    // booting, and are only reported.
    let store = app.store_status().map_or_else(String::new, |store| store + "\n");
    let mut warnings = app.bucket_warnings()?;
    warnings.extend(app.sync_warning());
    let lines =
        files.warnings.iter().chain(&warnings).map(|warning| format!("warning: {warning}\n"));
    Ok((StatusCode::OK, format!("ready\n{store}{}", lines.collect::<String>())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_loopback_are_here() {
        for here in [
            "localhost",
            "LocalHost:9180",
            "127.0.0.1:9180",
            "127.9.9.9",
            "[::1]:9180",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(is_here(here.as_bytes(), &[]), "{here}");
        }
        for elsewhere in [
            "",
            "boot",
            "evil.example",
            "localhost.evil.example:9180",
            "127.0.0.1.evil.example",
            "0.0.0.0",
            "[::]",
            "192.0.2.1",
            "localhost@evil.example",
            "127.0.0.1@evil.example:9180",
            "a b",
            "::1",
        ] {
            assert!(!is_here(elsewhere.as_bytes(), &[]), "{elsewhere}");
        }
    }

    #[test]
    fn so_are_names_in_the_configuration_and_no_others() {
        let named = ["farmgate.lan", "192.0.2.7"].map(|name| name.parse().unwrap());
        for here in ["farmgate.lan", "Farmgate.Lan:443", "192.0.2.7:8080", "localhost"] {
            assert!(is_here(here.as_bytes(), &named), "{here}");
        }
        for elsewhere in
            ["lan", "x.farmgate.lan", "farmgate.lan.evil.example", "a@farmgate.lan", "192.0.2.8"]
        {
            assert!(!is_here(elsewhere.as_bytes(), &named), "{elsewhere}");
        }
    }
}
