//! The fleet at a glance. Pure.

use std::collections::BTreeMap;

use maud::Markup;
use maud::html;
use time::OffsetDateTime;

use super::document;
use super::document::Place;
use super::level::Level;
use super::overview::Fleet;
use super::overview::Row;
use super::query::Part;
use super::query::Query;
use super::query::Show;
use super::query::Sort;
use super::rollouts;
use super::row;
use super::words;

/// The columns, and the order that their headings lead to.
const COLUMNS: [(&str, Sort); 5] = [
    ("Gateway", Sort::Name),
    ("State", Sort::State),
    ("Generation", Sort::Live),
    ("Last boot", Sort::Boot),
    ("Certificate", Sort::Certificate),
];

/// The whole page.
pub(in crate::server) fn page(fleet: &Fleet, query: &Query) -> String {
    let (now, part) = (fleet.at, query.select(fleet));
    let title = match count(fleet, Level::Bad) + count(fleet, Level::Warn) {
        0 => "farmgate".to_owned(),
        problems => format!("({problems}) farmgate"),
    };
    let content = html! {
        (summary(fleet, query))
        (filter(fleet, query))
        div #found data-version=(fleet.version) { (table(query, &part, now)) }
    };
    document::page(Place::Fleet, &title, None, now, content)
}

fn count(fleet: &Fleet, level: Level) -> usize {
    fleet.rows.iter().filter(|row| row.level() == level).count()
}

/// One row alone, for the live page.
pub(in crate::server) fn row(row: &Row, now: OffsetDateTime) -> String {
    document::finish(row::row(row, now))
}

/// The state of the fleet in one sentence, counts, and messages about the whole host. Also sent to
/// live pages.
pub(in crate::server) fn summary_text(fleet: &Fleet) -> String {
    document::finish(summary(fleet, &Query::default()))
}

fn summary(fleet: &Fleet, query: &Query) -> Markup {
    let (bad, warn, all) = (count(fleet, Level::Bad), count(fleet, Level::Warn), fleet.rows.len());
    let alarm = fleet.notices.iter().map(|notice| notice.level).min();
    let level = match (bad, warn, alarm) {
        (1.., ..) | (_, _, Some(Level::Bad)) => Level::Bad,
        (_, 1.., _) | (_, _, Some(Level::Warn)) => Level::Warn,
        _ => Level::Good,
    };
    html! {
        section #summary aria-labelledby="headline" {
            h1 #headline class=(level.as_str()) {
                span.sign aria-hidden="true" { (level.sign()) } " " (headline(bad, warn, all, alarm))
            }
            @if !fleet.notices.is_empty() {
                ul.notices {
                    @for notice in &fleet.notices {
                        li class=(notice.level.as_str()) {
                            span.sign aria-hidden="true" { (notice.level.sign()) } " " (notice.text)
                        }
                    }
                }
            }
            ul.counts {
                @for level in Level::ALL {
                    @let number = count(fleet, level);
                    @let address = Query { show: Show::Only(level), ..Query::default() }.address(1);
                    li class={ (level.as_str()) @if number == 0 { " zero" } } {
                        a href=(address)
                            aria-current=[(query.show == Show::Only(level)).then_some("true")] {
                            strong { (number) } " "
                            span { span.sign aria-hidden="true" { (level.sign()) } " " (level.title()) }
                        }
                    }
                }
            }
            (host(fleet))
            @for rollout in &fleet.rollouts { (rollouts::line(rollout, fleet.at)) }
        }
    }
}

fn headline(bad: usize, warn: usize, all: usize, alarm: Option<Level>) -> String {
    let are = |count: usize| if count == 1 { "is" } else { "are" };
    if alarm == Some(Level::Bad) {
        let rest = if bad > 0 { format!(", {bad} of {all} broken") } else { String::new() };
        return format!("This host keeps gateways from booting{rest}");
    }
    match (bad, warn, all) {
        (_, _, 0) => "No gateways yet".to_owned(),
        (0, 0, _) if alarm == Some(Level::Warn) => "This host has something to look at".to_owned(),
        (0, 0, 1) => "The one gateway is fine".to_owned(),
        (0, 0, all) => format!("No problems among {all} gateways"),
        (0, warn, all) => format!("{warn} of {all} gateways {} to look at", are(warn)),
        (bad, 0, all) => format!("{bad} of {all} gateways {} broken", are(bad)),
        (bad, warn, all) => {
            format!("{bad} of {all} gateways {} broken, {warn} to look at", are(bad))
        }
    }
}

/// The git repository and the shared store, a line each.
fn host(fleet: &Fleet) -> Markup {
    html! {
        @if let Some(sync) = &fleet.sync {
            p.host {
                "Last sync " (words::ago(sync.at, fleet.at)) ": "
                code { (sync.commit.chars().take(12).collect::<String>()) } " "
                (sync.subject) " (" (sync.author) ")"
            }
        }
        @if let Some(store) = &fleet.store { p.host { "Shared " (store) } }
    }
}

fn filter(fleet: &Fleet, query: &Query) -> Markup {
    let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
    for group in fleet.rows.iter().filter_map(|row| row.gateway.group.as_deref()) {
        *groups.entry(group).or_default() += 1;
    }
    let option = |value: &str, text: &str, chosen: bool| {
        html! { option value=(value) selected[chosen] { (text) } }
    };
    html! {
        form #filter method="get" action="/" role="search" aria-label="Filter the gateways" {
            label { span { "Search" }
                input type="search" name="q" value=(query.text) maxlength="100"
                    placeholder="name, group, label or state" autocomplete="off" spellcheck="false";
            }
            @if !groups.is_empty() {
                label { span { "Group" }
                    select name="group" {
                        (option("", "all", query.group.is_none()))
                        @for (group, count) in groups {
                            (option(group, &format!("{group} ({count})"), query.group.as_deref() == Some(group)))
                        }
                    }
                }
            }
            label { span { "Show" }
                select name="show" {
                    (option("", "everything", query.show == Show::All))
                    (option("problems", "only problems", query.show == Show::Problems))
                    @for level in Level::ALL {
                        (option(level.as_str(), level.title(), query.show == Show::Only(level)))
                    }
                }
            }
            label { span { "Sort by" }
                select name="sort" {
                    @for sort in Sort::ALL { (option(sort.as_str(), sort.title(), query.sort == sort)) }
                }
            }
            button type="submit" { "Apply" }
        }
    }
}

fn table(query: &Query, part: &Part<'_>, now: OffsetDateTime) -> Markup {
    html! {
        p.found role="status" {
            @match part.found {
                0 => "No gateway fits.",
                1 => "1 gateway",
                found => { (found) " gateways" }
            }
            @if part.pages > 1 { ", page " (part.page) " of " (part.pages) }
            @if !query.is_everything() { " · " a href="/" { "show all" } }
        }
        @if !part.rows.is_empty() {
            table.fleet role="table" aria-label="Gateways" {
                thead role="rowgroup" {
                    tr role="row" {
                        @for (title, sort) in COLUMNS {
                            th role="columnheader" scope="col"
                                aria-sort=[(query.sort == sort).then_some("other")] {
                                a href=(Query { sort, page: 1, ..query.clone() }.address(1)) { (title) }
                            }
                        }
                    }
                }
                tbody role="rowgroup" { @for row in &part.rows { (row::row(row, now)) } }
            }
        }
        @if part.pages > 1 {
            nav.pages aria-label="Pages of the table" {
                @if part.page > 1 { a rel="prev" href=(query.address(part.page - 1)) { "← previous" } }
                span { "page " (part.page) " of " (part.pages) }
                @if part.page < part.pages {
                    a rel="next" href=(query.address(part.page + 1)) { "next →" }
                }
            }
        }
    }
}
