//! Times, sizes and names as people read them. Pure.

use std::cmp::Ordering;

use maud::Markup;
use maud::html;
use time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::store::journal::Stage;

/// A span of time in one unit: `40 s`, `5 min`, `3 h`, `12 days`.
pub(in crate::server) fn span(span: Duration) -> String {
    let seconds = span.whole_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// The time as computers read it.
pub(super) fn machine(at: OffsetDateTime) -> String {
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}

/// Date and time to the second, in UTC.
pub(super) fn exact(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    format!("{} {:02}:{:02}:{:02} UTC", at.date(), at.hour(), at.minute(), at.second())
}

/// The time since a moment, with the exact time for whoever points at it. The script keeps it
/// current.
pub(super) fn ago(at: OffsetDateTime, now: OffsetDateTime) -> Markup {
    html! {
        time datetime=(machine(at)) title=(exact(at)) data-ago { (span(now - at)) " ago" }
    }
}

/// For how long, as [`ago`].
pub(super) fn lasting(since: OffsetDateTime, now: OffsetDateTime) -> Markup {
    html! {
        time datetime=(machine(since)) title=(exact(since)) data-span { (span(now - since)) }
    }
}

/// A size with a unit: `312 kB`, `1.4 MB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    for (unit, factor) in UNITS {
        if bytes >= factor {
            let tenths = bytes / (factor / 10);
            return match tenths {
                100.. => format!("{} {unit}", tenths / 10),
                _ => format!("{}.{} {unit}", tenths / 10, tenths % 10),
            };
        }
    }
    format!("{bytes} B")
}

/// The stage in a few words.
pub(super) fn stage(stage: &Stage) -> String {
    match stage {
        Stage::Boot { .. } => "asked for its script".to_owned(),
        Stage::File { path, size, bytes, .. } if bytes < size => {
            format!("{path}, {} %", bytes.saturating_mul(100) / size)
        }
        Stage::File { path, .. } | Stage::FileByNginx { path, .. } => path.to_string(),
        Stage::Secrets => "secrets".to_owned(),
        Stage::Acknowledged => "acknowledged".to_owned(),
        Stage::Report { report, .. } => report.to_string(),
        Stage::Error { error } => error.to_string(),
    }
}

/// Orders names so that `lab-2` comes before `lab-10`.
pub(in crate::server) fn natural(left: &str, right: &str) -> Ordering {
    let (mut a, mut b) = (left, right);
    loop {
        match (a.is_empty(), b.is_empty()) {
            (true, true) => return left.cmp(right),
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        let (number_a, number_b) = (digits(a), digits(b));
        let order = if number_a > 0 && number_b > 0 {
            let (x, y) = (&a[..number_a], &b[..number_b]);
            (a, b) = (&a[number_a..], &b[number_b..]);
            let (x, y) = (x.trim_start_matches('0'), y.trim_start_matches('0'));
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            let (x, y) = (first(a), first(b));
            (a, b) = (&a[x.len()..], &b[y.len()..]);
            x.cmp(y)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// The length of the digits at the beginning.
fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// The first character.
fn first(text: &str) -> &str {
    let end = text.chars().next().map_or(0, char::len_utf8);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_in_names_count_as_numbers() {
        let mut names = ["lab-10", "lab-2", "lab-2a", "lab-02", "b", "lab-", "lab-100", "a-1-9"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["a-1-9", "b", "lab-", "lab-02", "lab-2", "lab-2a", "lab-10", "lab-100"]);
    }

    #[test]
    fn spans_and_sizes_have_one_unit() {
        for (seconds, expected) in
            [(-5, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (172_800, "2 days")]
        {
            assert_eq!(span(Duration::seconds(seconds)), expected);
        }
        for (bytes, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1400, "1.4 kB"),
            (12_345_678, "12 MB"),
            (u64::MAX, "18446744073 GB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }

    proptest! {
        #[test]
        fn the_order_of_names_is_total(a in "[a-c0-2é-]{0,6}", b in "[a-c0-2é-]{0,6}", c in "[a-c0-2é-]{0,6}") {
            prop_assert_eq!(natural(&a, &b), natural(&b, &a).reverse());
            prop_assert_eq!(natural(&a, &b) == Ordering::Equal, a == b);
            if natural(&a, &b) != Ordering::Greater && natural(&b, &c) != Ordering::Greater {
                prop_assert_ne!(natural(&a, &c), Ordering::Greater);
            }
        }
    }
}
