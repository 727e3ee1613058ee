//! The page of one gateway. Pure.

use maud::Markup;
use maud::html;
use time::OffsetDateTime;

use super::boots;
use super::condition::findings;
use super::document;
use super::document::Place;
use super::generations;
use super::model::Details;
use super::row;
use super::words;
use crate::fleet::trail::Line;

pub(in crate::server) fn page(details: &Details, now: OffsetDateTime) -> String {
    let gateway = &details.gateway;
    let found = findings(gateway, now);
    let content = html! {
        h1 { (gateway.name) }
        ul.findings.large { @for finding in &found { li { (row::finding(finding)) } } }
        (facts(details, now))
        (boots::section(details))
        (generations::section(details, now))
        (log(&details.log, now))
    };
    let title = format!("{} - farmgate", gateway.name);
    document::page(Place::Gateway, &title, Some(&gateway.name), now, content)
}

fn facts(details: &Details, now: OffsetDateTime) -> Markup {
    let gateway = &details.gateway;
    html! {
        section aria-labelledby="facts" {
            h2 #facts { "Facts" }
            dl.facts {
                dt { "Next boot" }
                dd {
                    @match gateway.next {
                        None => "nothing is published",
                        Some(next) => {
                            "generation " (next.generation) ": " (next.reason)
                            @if let Some(since) = next.since { ", live for " (words::lasting(since, now)) }
                        }
                    }
                }
                dt { "Last boot" }
                dd {
                    @match &gateway.last_boot {
                        None => "never",
                        Some(boot) => {
                            (words::ago(boot.at, now)) ", generation " (boot.generation) ", "
                            @if boot.acknowledged { "acknowledged" }
                            @else if gateway.assessed { "not acknowledged" }
                            @else { "not assessed: its system never acknowledges" }
                        }
                    }
                }
                @if let Some(group) = &gateway.group { dt { "Group" } dd { (group) } }
                @for (key, value) in &gateway.labels { dt { (key) } dd { (value) } }
                @if let Some(bucket) = &gateway.bucket {
                    dt { "Bucket" }
                    dd {
                        (bucket.state)
                        @if let Some(error) = &bucket.error { ": " (error) }
                    }
                }
                @if let Some(added) = details.added { dt { "Added" } dd { (words::ago(added, now)) } }
                @for owned in &details.certificates {
                    dt { "Certificate" }
                    dd {
                        (owned.state) ", valid until " (owned.not_after.date()) " "
                        code.digest { (owned.fingerprint) }
                    }
                }
            }
        }
    }
}

fn log(log: &[Line], now: OffsetDateTime) -> Markup {
    html! {
        section aria-labelledby="log" {
            h2 #log { "Log" }
            @if log.is_empty() { p { "Nothing was done yet." } }
            @else {
                ol.log {
                    @for line in log {
                        li {
                            (words::ago(line.at, now)) ": " (line.deed)
                            @if let Some(author) = &line.author { ", by " strong { (author) } }
                            @if let Some(commit) = &line.commit { ", commit " code { (commit) } }
                            @if let Some(message) = &line.message { span.sub { (message) } }
                        }
                    }
                }
            }
        }
    }
}
