//! The gateways of a fleet, a line each, and a summary.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use time::Duration;
use time::OffsetDateTime;

use super::StatusRow;
use super::moment;
use crate::cli::table;
use crate::cli::table::Cell;
use crate::cli::table::Column;
use crate::cli::table::Screen;
use crate::cli::table::Style;
use crate::fleet::GroupName;
use crate::fleet::Reason;

/// A boot that is not acknowledged after so long has failed. Slow machines need minutes.
const SLOWEST_BOOT: Duration = Duration::minutes(15);

/// Certificates that end sooner than this are marked.
const ENDS_SOON: Duration = Duration::days(30);

/// The order of gateways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Sort {
    /// By name, lab-2 before lab-10
    Name,
    /// Published last comes first
    Since,
    /// The lowest generation first
    Generation,
    /// Longest without a boot comes first
    Boot,
    /// The certificate that ends first comes first
    Expiry,
}

impl Sort {
    pub(super) fn apply(self, rows: &mut [StatusRow]) {
        // Gateways that are equal in this stay in the order of their names.
        rows.sort_by(|a, b| a.gateway.cmp(&b.gateway));
        match self {
            Self::Name => {}
            Self::Since => rows.sort_by_key(|row| std::cmp::Reverse(row.since)),
            Self::Generation => rows.sort_by_key(|row| row.generation),
            Self::Boot => rows.sort_by_key(|row| row.last_boot),
            // Without a certificate, it has ended.
            Self::Expiry => rows.sort_by_key(|row| row.not_after),
        }
    }
}

/// A reason to look at a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Trouble {
    /// Part of its state cannot be read.
    Unreadable,
    /// All its certificates are revoked.
    Revoked,
    /// Its current generation does not work.
    BadGeneration,
    /// Its last boot was not acknowledged.
    NotAcknowledged,
    /// Its bucket failed.
    Bucket,
}

impl Trouble {
    pub(super) fn of(row: &StatusRow, now: OffsetDateTime) -> Option<Self> {
        let is_late = row.last_boot.is_some_and(|at| now - at > SLOWEST_BOOT);
        let is_assessed = row.reason != Some(Reason::NotAssessed);
        match row.reason {
            _ if row.error.is_some() => Some(Self::Unreadable),
            _ if row.revoked => Some(Self::Revoked),
            Some(Reason::FellBack { .. } | Reason::NothingBetter { .. }) => {
                Some(Self::BadGeneration)
            }
            _ if row.acknowledged == Some(false) && is_late && is_assessed => {
                Some(Self::NotAcknowledged)
            }
            _ if row
                .bucket
                .as_ref()
                .is_some_and(|bucket| !bucket.is_well() && bucket.error.is_some()) =>
            {
                Some(Self::Bucket)
            }
            _ => None,
        }
    }
}

/// The rows of `farmgate status`.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct FleetStatus {
    pub(super) rows: Vec<StatusRow>,
    /// Says that there are others, which were not asked for.
    #[serde(skip)]
    pub(super) is_part: bool,
    /// Only those with trouble are here.
    #[serde(skip)]
    pub(super) is_failed: bool,
    #[serde(skip)]
    pub(super) screen: Screen,
    #[serde(skip)]
    pub(super) now: OffsetDateTime,
}

impl fmt::Display for FleetStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return match self.is_part {
                true => write!(f, "none of them"),
                false => write!(f, "no gateways yet; `farmgate gateway add NAME` makes one"),
            };
        }
        let groups = self.rows.iter().any(|row| row.group.is_some());
        let columns: Vec<_> =
            COLUMNS.iter().filter(|c| groups || c.title != GROUP).copied().collect();
        let cells = |row: &StatusRow| self.cells(row, groups);
        let cells: Vec<_> = self.rows.iter().map(cells).collect();
        let mut lines = table::render(&columns, &cells, self.screen).into_iter();
        f.write_str(&lines.next().unwrap_or_default())?;
        for (line, row) in lines.zip(&self.rows) {
            write!(f, "\n{line}")?;
            // Only conditions that an operator should look at.
            let bucket = row.bucket.as_ref().filter(|bucket| bucket.error.is_some());
            let bucket = bucket.map(|bucket| format!("bucket {bucket}"));
            for more in bucket.iter().chain(&row.error) {
                write!(f, "\n{}", table::wrapped(more, 4, self.screen.width))?;
            }
        }
        write!(f, "\n{}", table::wrapped(&self.summary(), 0, self.screen.width))
    }
}

const GROUP: &str = "GROUP";

const COLUMNS: [Column; 9] = [
    Column { title: "GATEWAY", right: false, least: Some(12), rank: 0 },
    Column { title: GROUP, right: false, least: Some(8), rank: 4 },
    Column { title: "GENERATION", right: true, least: None, rank: 0 },
    Column { title: "SINCE", right: false, least: None, rank: 6 },
    Column { title: "LAST BOOT", right: false, least: None, rank: 2 },
    Column { title: "ACK", right: false, least: None, rank: 1 },
    Column { title: "CERT UNTIL", right: false, least: None, rank: 5 },
    Column { title: "STAGE", right: false, least: Some(10), rank: 3 },
    Column { title: "WHY", right: false, least: Some(10), rank: 0 },
];

impl FleetStatus {
    fn cells(&self, row: &StatusRow, groups: bool) -> Vec<Cell> {
        let dash = || "-".to_owned();
        let plain = |text: Option<String>| Cell::new(text.unwrap_or_else(dash), Style::Plain);
        let date = |at: OffsetDateTime| at.date().to_string();
        let acknowledged = match row.acknowledged {
            None => plain(None),
            Some(true) => Cell::new("yes", Style::Good),
            Some(false) if row.trouble == Some(Trouble::NotAcknowledged) => {
                Cell::new("no", Style::Bad)
            }
            Some(false) => Cell::new("no", Style::Doubtful),
        };
        let certificate = match row.not_after {
            Some(until) if until < self.now => Cell::new(date(until), Style::Bad),
            Some(until) if until < self.now + ENDS_SOON => Cell::new(date(until), Style::Doubtful),
            Some(until) => plain(Some(date(until))),
            None => Cell::new("none", Style::Bad),
        };
        let why = match row.reason {
            _ if row.revoked => Cell::new("REVOKED", Style::Bad),
            _ if row.error.is_some() => Cell::new("UNREADABLE", Style::Bad),
            Some(reason @ (Reason::FellBack { .. } | Reason::NothingBetter { .. })) => {
                Cell::new(reason.to_string(), Style::Bad)
            }
            Some(reason @ Reason::Good) => Cell::new(reason.to_string(), Style::Good),
            Some(reason) => Cell::new(reason.to_string(), Style::Doubtful),
            None => plain(None),
        };
        let group = groups.then(|| plain(row.group.as_ref().map(GroupName::to_string)));
        let mut cells = vec![plain(Some(row.gateway.to_string()))];
        cells.extend(group);
        cells.extend([
            plain(row.generation.map(|number| number.to_string())),
            plain(row.since.map(date)),
            plain(row.last_boot.map(moment)),
            acknowledged,
            certificate,
            plain(row.stage.clone()),
            why,
        ]);
        cells
    }

    /// `12 gateways: 9 good, 2 trying, 1 pinned; 1 failed`.
    fn summary(&self) -> String {
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for row in &self.rows {
            let kind = match row.reason {
                _ if row.revoked => "REVOKED",
                _ if row.error.is_some() => "unreadable",
                None => "without a generation",
                Some(Reason::Good) => "good",
                Some(Reason::Trying { .. }) => "on trial",
                Some(Reason::Pinned) => "pinned",
                Some(Reason::NotAssessed) => "not assessed",
                Some(Reason::FellBack { .. }) => "fell back",
                Some(Reason::NothingBetter { .. }) => "without one that works",
            };
            *kinds.entry(kind).or_default() += 1;
        }
        let mut kinds: Vec<_> = kinds.into_iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let all = self.rows.len();
        let word = if all == 1 { "gateway" } else { "gateways" };
        let failed = self.rows.iter().filter(|row| row.trouble.is_some()).count();
        let failed = match failed {
            0 => String::new(),
            _ if self.is_failed => String::new(),
            failed => format!("; {failed} failed (`farmgate status --failed`)"),
        };
        format!("{all} {word}: {}{failed}", kinds.join(", "))
    }
}
