//! The results as text, in Markdown: they go into docs/performance.md as they are.

use std::fmt::Write;

use crate::peers::NGINX_ALONE;
use crate::results::Results;
use crate::targets::Bound;
use crate::targets::Target;

pub(crate) fn table(results: &Results, targets: &[Target]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_table(&mut text, results, targets);
    text
}

fn write_table(text: &mut String, results: &Results, targets: &[Target]) -> std::fmt::Result {
    if !results.rows.is_empty() {
        writeln!(
            text,
            "| measure | server | median | ratio to nginx alone (least to most) | server CPU each | busy: server, client |"
        )?;
        writeln!(text, "|---|---|---|---|---|---|")?;
    }
    for row in &results.rows {
        let Some(value) = row.spread(|sample| sample.per_second) else { continue };
        let median = |of: fn(&crate::drive::Sample) -> f64| {
            row.spread(of).map_or(0.0, |spread| spread.median)
        };
        let ratio = results.ratio(row.measure, row.server, NGINX_ALONE);
        let ratio = ratio.map_or_else(String::new, |ratio| {
            format!("{:.2} ({:.2} to {:.2})", ratio.median, ratio.least, ratio.most)
        });
        writeln!(
            text,
            "| {} | {} | {:.0} {} | {ratio} | {:.0} µs | {:.0} %, {:.0} % |",
            row.measure,
            row.server,
            value.median,
            row.unit,
            median(|sample| sample.server_micros),
            median(|sample| sample.server_busy) * 100.0,
            median(|sample| sample.client_busy) * 100.0,
        )?;
    }
    if !results.single.is_empty() {
        writeln!(text, "\n| figure | value |\n|---|---|")?;
    }
    for (name, value, unit) in &results.single {
        writeln!(text, "| {name} | {value:.1} {unit} |")?;
    }
    if !targets.is_empty() {
        writeln!(text, "\n| target | measured | wanted | |\n|---|---|---|---|")?;
    }
    for target in targets {
        let (sign, bound) = match target.bound {
            Bound::AtLeast(bound) => ("≥", bound),
            Bound::AtMost(bound) => ("≤", bound),
        };
        let value = target.value.unwrap_or(f64::NAN);
        let met = if target.is_met() == Some(true) { "met" } else { "**not met**" };
        writeln!(text, "| {} | {value:.2} | {sign} {bound} | {met} |", target.what)?;
    }
    Ok(())
}
