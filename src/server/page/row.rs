//! One gateway in the table of the fleet. Pure.

use maud::Markup;
use maud::html;
use time::Duration;
use time::OffsetDateTime;

use super::condition::ENDS_SOON;
use super::level::Finding;
use super::level::Level;
use super::model::Certificate;
use super::model::Gateway;
use super::overview::Row;
use super::words;
use crate::fleet::Reason;

/// RFC 5280, section 4.1.2.5: certificates without an end name one in the year 9999.
const FOR_EVER: Duration = Duration::days(365 * 1000);

/// The address of a gateway's page.
pub(super) fn address(name: &str) -> String {
    format!("/gateways/{name}")
}

/// A sign and a word.
pub(super) fn mark(level: Level, word: &str) -> Markup {
    html! {
        span class={ "mark " (level.as_str()) } {
            span.sign aria-hidden="true" { (level.sign()) } " " (word)
        }
    }
}

/// One finding.
pub(super) fn finding(finding: &Finding) -> Markup {
    html! {
        (mark(finding.level, finding.word))
        @if !finding.text.is_empty() { " " span.why { (finding.text) } }
    }
}

/// A row of the table. Its roles are written out, because on a narrow screen it is laid out as a
/// block, and browsers then forget that it is a row.
pub(super) fn row(row: &Row, now: OffsetDateTime) -> Markup {
    let gateway = &row.gateway;
    html! {
        tr role="row" id={ "g-" (gateway.name) } class=(row.level().as_str())
            data-gateway=(gateway.name) data-level=(row.level().as_str()) {
            th role="rowheader" scope="row" {
                a href=(address(&gateway.name)) { (gateway.name) }
                (labels(gateway))
            }
            td role="cell" data-title="State" {
                ul.findings { @for found in &row.findings { li { (finding(found)) } } }
            }
            td role="cell" data-title="Generation" { (generation(gateway, now)) }
            td role="cell" data-title="Last boot" {
                @if let Some(boot) = &gateway.last_boot {
                    (words::ago(boot.at, now))
                    span.sub {
                        @if boot.acknowledged { "acknowledged" }
                        @else if let Some(reached) = &boot.stage { "reached: " (words::stage(reached)) }
                        @else if gateway.assessed { "not acknowledged" }
                        @else { "not assessed" }
                    }
                } @else { span.none { "never" } }
            }
            td role="cell" data-title="Certificate" { (certificate(gateway, now)) }
        }
    }
}

fn labels(gateway: &Gateway) -> Markup {
    html! {
        @if gateway.group.is_some() || !gateway.labels.is_empty() {
            span.labels {
                @if let Some(group) = &gateway.group { span.group { (group) } " " }
                @for (key, value) in &gateway.labels { span.label { (key) "=" (value) } " " }
            }
        }
    }
}

fn generation(gateway: &Gateway, now: OffsetDateTime) -> Markup {
    html! {
        @if let Some(next) = gateway.next {
            span.number { (next.generation) }
            @if next.reason == Reason::Pinned { " " span.label { "pinned" } }
            @if let Some(since) = next.since { span.sub { "live for " (words::lasting(since, now)) } }
        } @else { span.none { "none" } }
    }
}

fn certificate(gateway: &Gateway, now: OffsetDateTime) -> Markup {
    html! {
        @match gateway.certificate {
            Certificate::Active(until) if until <= now => { "ended" span.sub { (until.date()) } }
            Certificate::Active(until) if until - now > FOR_EVER => { span.none { "no end" } }
            Certificate::Active(until) => {
                span.soon[until - now < ENDS_SOON] { (words::span(until - now)) }
                span.sub { (until.date()) }
            }
            Certificate::Revoked => { "REVOKED" }
            Certificate::Retiring => { span.none { "none active" } }
            Certificate::Unknown => { span.none { "unknown" } }
        }
    }
}
