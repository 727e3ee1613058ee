//! The part of the fleet to show, from the address of the page: filter, order, page. Pure. A value
//! that makes no sense means the default, so that no address is an error.

use std::cmp::Ordering;

use serde::Deserialize;

use super::level::Level;
use super::model::Certificate;
use super::overview::Fleet;
use super::overview::Row;
use super::words::natural;

/// Gateways on one page.
pub(in crate::server) const PAGE: usize = 100;

/// Longest search text, in characters.
const MOST_TEXT: usize = 100;

/// The query of the address as it stands.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::server) struct Raw {
    q: String,
    group: String,
    show: String,
    sort: String,
    page: String,
}

/// The part of the fleet to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::server) struct Query {
    /// Words that must all be found.
    pub(super) text: String,
    pub(super) group: Option<String>,
    pub(super) show: Show,
    pub(super) sort: Sort,
    /// Counted from 1.
    pub(super) page: usize,
}

/// The conditions to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Show {
    #[default]
    All,
    /// Broken ones, and those to look at.
    Problems,
    Only(Level),
}

/// The order of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// Worst first.
    #[default]
    State,
    Name,
    Group,
    /// Latest activation first.
    Live,
    /// Latest boot first.
    Boot,
    /// The certificate that ends first.
    Certificate,
}

impl Show {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::All => "",
            Self::Problems => "problems",
            Self::Only(level) => level.as_str(),
        }
    }

    fn parse(text: &str) -> Self {
        let level = Level::ALL.into_iter().find(|level| level.as_str() == text);
        match level {
            Some(level) => Self::Only(level),
            None if text == "problems" => Self::Problems,
            None => Self::All,
        }
    }

    fn has(self, level: Level) -> bool {
        match self {
            Self::All => true,
            Self::Problems => level.is_problem(),
            Self::Only(only) => only == level,
        }
    }
}

impl Sort {
    pub(super) const ALL: [Self; 6] =
        [Self::State, Self::Name, Self::Group, Self::Live, Self::Boot, Self::Certificate];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::State => "",
            Self::Name => "name",
            Self::Group => "group",
            Self::Live => "live",
            Self::Boot => "boot",
            Self::Certificate => "certificate",
        }
    }

    /// For people.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::State => "worst first",
            Self::Name => "name",
            Self::Group => "group",
            Self::Live => "latest generation",
            Self::Boot => "latest boot",
            Self::Certificate => "certificate that ends first",
        }
    }
}

impl From<Raw> for Query {
    fn from(raw: Raw) -> Self {
        Self {
            text: raw.q.trim().chars().take(MOST_TEXT).collect(),
            group: Some(raw.group).filter(|group| !group.is_empty()),
            show: Show::parse(&raw.show),
            sort: Sort::ALL.into_iter().find(|sort| sort.as_str() == raw.sort).unwrap_or_default(),
            page: raw.page.parse().unwrap_or(1).max(1),
        }
    }
}

/// The rows of one page.
#[derive(Debug)]
pub(in crate::server) struct Part<'a> {
    pub(in crate::server) rows: Vec<&'a Row>,
    /// Rows on all pages.
    pub(in crate::server) found: usize,
    /// This page, and the last one.
    pub(super) page: usize,
    pub(super) pages: usize,
}

impl Query {
    /// Says whether everything is shown.
    pub(super) fn is_everything(&self) -> bool {
        self.text.is_empty() && self.group.is_none() && self.show == Show::All
    }

    /// Filters, sorts, and cuts out one page.
    pub(in crate::server) fn select<'a>(&self, fleet: &'a Fleet) -> Part<'a> {
        let words: Vec<String> =
            self.text.to_lowercase().split_whitespace().map(str::to_owned).collect();
        let mut rows: Vec<&Row> = fleet.rows.iter().filter(|row| self.has(row, &words)).collect();
        // They are in the order of names already, and a stable sort keeps that.
        match self.sort {
            Sort::Name => {}
            sort => rows.sort_by(|a, b| order(sort, a, b)),
        }
        let (found, pages) = (rows.len(), rows.len().div_ceil(PAGE).max(1));
        let page = self.page.clamp(1, pages);
        let rows = rows.into_iter().skip((page - 1) * PAGE).take(PAGE).collect();
        Part { rows, found, page, pages }
    }

    fn has(&self, row: &Row, words: &[String]) -> bool {
        let gateway = &row.gateway;
        self.show.has(row.level())
            && (self.group.is_none() || self.group == gateway.group)
            && words.iter().all(|word| {
                let label = |(key, value): (&String, &String)| {
                    format!("{key}={value}").to_lowercase().contains(word)
                };
                gateway.name.contains(word)
                    || gateway.group.as_ref().is_some_and(|group| group.contains(word))
                    || row.findings.iter().any(|finding| finding.word.contains(word))
                    || gateway.labels.iter().any(label)
            })
    }

    /// The address of this selection, with one page.
    pub(super) fn address(&self, page: usize) -> String {
        let page = if page > 1 { page.to_string() } else { String::new() };
        let pairs = [
            ("q", self.text.as_str()),
            ("group", self.group.as_deref().unwrap_or_default()),
            ("show", self.show.as_str()),
            ("sort", self.sort.as_str()),
            ("page", &page),
        ];
        let pairs = pairs.into_iter().filter(|(_, value)| !value.is_empty());
        let pairs: Vec<String> = pairs
            .map(|(key, value)| {
                let value = percent_encoding::utf8_percent_encode(
                    value,
                    percent_encoding::NON_ALPHANUMERIC,
                );
                format!("{key}={value}")
            })
            .collect();
        if pairs.is_empty() { "/".to_owned() } else { format!("/?{}", pairs.join("&")) }
    }
}

fn order(sort: Sort, a: &Row, b: &Row) -> Ordering {
    let since = |row: &Row| row.gateway.next.and_then(|next| next.since);
    let boot = |row: &Row| row.gateway.last_boot.as_ref().map(|boot| boot.at);
    let end = |row: &Row| match row.gateway.certificate {
        Certificate::Active(until) => (0, Some(until)),
        _ => (1, None),
    };
    match sort {
        Sort::Name => natural(&a.gateway.name, &b.gateway.name),
        Sort::State => a.level().cmp(&b.level()),
        Sort::Group => {
            let group = |row: &Row| (row.gateway.group.is_none(), row.gateway.group.clone());
            group(a).cmp(&group(b))
        }
        Sort::Live => since(b).cmp(&since(a)),
        Sort::Boot => boot(b).cmp(&boot(a)),
        Sort::Certificate => end(a).cmp(&end(b)),
    }
}
