//! What happens here, in numbers for Prometheus: counted as it happens (this file), or read
//! when it is asked for (`fleet.rs`). Labels are routes, statuses, reasons and gateways: none
//! of them grows with what strangers ask for.

mod fleet;

use std::sync::Arc;
use std::time::Instant;

use axum::extract::MatchedPath;
use axum::extract::Request;
use axum::extract::State;
use axum::http::header;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::app::App;
use super::app::blocking;
use super::error::HttpError;
use super::error::Refusal;
use super::listener::Failed;
use super::listener::TOO_MANY;
use super::peer::Peer;
use crate::fleet::Reason;
use fleet::Fleet;

/// What every name begins with.
const PREFIX: &str = "farmgate";

/// Seconds until an answer begins: a boot writes to disk, a file may come from the store.
const SECONDS: [f64; 8] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    reason: &'static str,
}

/// What was counted since the server started.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Answer, Counter>,
    seconds: Family<Route, Histogram>,
    boots: Family<Why, Counter>,
    acknowledgements: Counter,
    refusals: Family<Why, Counter>,
    sent: Counter,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "Version of this program", Info::new(version));
        let requests = Family::default();
        registry.register("requests", "Answers to gateways", requests.clone());
        let seconds =
            Family::new_with_constructor((|| Histogram::new(SECONDS)) as fn() -> Histogram);
        let help = "Time until an answer to a gateway began";
        registry.register("request_seconds", help, seconds.clone());
        let boots = Family::<Why, Counter>::default();
        for reason in Reason::NAMES {
            let _ = boots.get_or_create(&Why { reason });
        }
        let help = "Boots, by the reason for the generation that was served";
        registry.register("boots", help, boots.clone());
        let acknowledgements = Counter::default();
        let help = "Boots that were acknowledged here for the first time";
        registry.register("acknowledgements", help, acknowledgements.clone());
        // All that there can be, from the start: a counter that appears with its first count
        // has no rate yet, and no alert sees it.
        let refusals = Family::<Why, Counter>::default();
        for reason in Refusal::REASONS.into_iter().chain(Failed::REASONS).chain([TOO_MANY]) {
            let _ = refusals.get_or_create(&Why { reason });
        }
        let help = "Requests of clients that were not let in";
        registry.register("refusals", help, refusals.clone());
        let sent = Counter::default();
        let help = "Bytes of files that farmgate itself sent; behind nginx, nginx does";
        registry.register("sent_bytes", help, sent.clone());
        Self { registry, requests, seconds, boots, acknowledgements, refusals, sent }
    }

    /// A boot was sent to a generation.
    pub(super) fn boot(&self, reason: Reason) {
        self.boots.get_or_create(&Why { reason: reason.as_str() }).inc();
    }

    /// A boot was acknowledged that was not before.
    pub(super) fn acknowledged(&self) {
        self.acknowledgements.inc();
    }

    /// A client was not let in.
    pub(super) fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&Why { reason }).inc();
    }

    /// Counts the bytes of files that are sent.
    pub(super) fn sent(&self) -> Counter {
        self.sent.clone()
    }
}

/// Counts a request and its answer.
pub(super) async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if let Some(Peer::Watchdog) = request.extensions().get() {
        return next.run(request).await;
    }
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    let (route, began) = (route.to_owned(), Instant::now());
    let response = next.run(request).await;
    let metrics = &app.metrics;
    let seconds = began.elapsed().as_secs_f64();
    metrics.seconds.get_or_create(&Route { route: route.clone() }).observe(seconds);
    let status = response.status().as_u16();
    metrics.requests.get_or_create(&Answer { route, status }).inc();
    if let Some(reason) = response.extensions().get::<RefusedFor>() {
        metrics.refused(reason.0);
    }
    response
}

/// Why a client was not let in: for [`count`], never for the client.
#[derive(Clone, Copy)]
pub(super) struct RefusedFor(pub(super) &'static str);

/// `GET /metrics`, in the text format of Prometheus.
pub(super) async fn show(State(app): State<Arc<App>>) -> Result<Response, HttpError> {
    let reader = app.clone();
    let booting = app.running_boots();
    let fleet = blocking(move || Ok(Fleet::read(&reader)?)).await?;
    let mut read = Registry::with_prefix(PREFIX);
    fleet.register(booting, &mut read);
    let mut text = String::new();
    for registry in [&app.metrics.registry, &read] {
        prometheus_text::encode(&mut text, registry)
            .map_err(|error| HttpError::Internal(error.into()))?;
    }
    Ok(([(header::CONTENT_TYPE, prometheus_text::CONTENT_TYPE)], text).into_response())
}
