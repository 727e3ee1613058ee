//! The fleet as JSON, with the names that `farmgate --json status` uses. Pure.

use std::collections::BTreeMap;

use serde::Serialize;
use time::OffsetDateTime;

use super::level::Finding;
use super::level::Level;
use super::model::Certificate;
use super::overview::Fleet;
use super::overview::Row;
use super::words;
use crate::fleet::GatewayId;
use crate::fleet::Reason;
use crate::store::consoles::Console;

#[derive(Serialize)]
struct Gateway<'a> {
    gateway: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway_id: Option<&'a GatewayId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    level: Level,
    findings: &'a [Finding],
    generation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(with = "time::serde::rfc3339::option")]
    live_since: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    last_boot: Option<OffsetDateTime>,
    stage: Option<String>,
    acknowledged: Option<bool>,
    #[serde(with = "time::serde::rfc3339::option")]
    not_after: Option<OffsetDateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket: Option<Bucket<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct Bucket<'a> {
    state: &'a str,
    error: Option<&'a str>,
}

impl<'a> From<&'a Row> for Gateway<'a> {
    fn from(of: &'a Row) -> Self {
        let gateway = &of.gateway;
        let last = gateway.last_boot.as_ref();
        Self {
            gateway: &gateway.name,
            gateway_id: gateway.id.as_ref(),
            group: gateway.group.as_deref(),
            labels: &gateway.labels,
            level: of.level(),
            findings: &of.findings,
            generation: gateway.next.map(|next| next.generation),
            reason: gateway.next.map(|next| next.reason),
            live_since: gateway.next.and_then(|next| next.since),
            last_boot: last.map(|last| last.at),
            stage: last.and_then(|last| last.stage.as_ref().map(words::stage)),
            acknowledged: last.map(|last| last.acknowledged),
            not_after: match gateway.certificate {
                Certificate::Active(until) => Some(until),
                _ => None,
            },
            bucket: gateway
                .bucket
                .as_ref()
                .map(|bucket| Bucket { state: bucket.state, error: bucket.error.as_deref() }),
            error: gateway.error.as_deref(),
        }
    }
}

/// All gateways, in the order of their names.
pub(in crate::server) fn fleet(fleet: &Fleet) -> serde_json::Result<String> {
    serde_json::to_string(&fleet.rows.iter().map(Gateway::from).collect::<Vec<_>>())
}

#[derive(Serialize)]
struct Details<'a> {
    #[serde(flatten)]
    gateway: Gateway<'a>,
    /// Latest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    consoles: Vec<&'a Console>,
}

/// One gateway, with the consoles of its latest failed boots.
pub(in crate::server) fn gateway(row: &Row, consoles: &[Console]) -> serde_json::Result<String> {
    let consoles = consoles.iter().rev().collect();
    serde_json::to_string(&Details { gateway: Gateway::from(row), consoles })
}
