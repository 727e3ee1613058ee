//! The latest boots of a gateway: a picture, and tables that say the same. Pure.

use maud::Markup;
use maud::html;
use time::OffsetDateTime;

use super::level::Level;
use super::model::Boot;
use super::model::Details;
use super::model::Step;
use super::row::mark;
use super::table;
use super::timeline;
use super::words;
use crate::store::journal::Stage;

pub(super) fn section(details: &Details) -> Markup {
    let boots = &details.boots;
    html! {
        section aria-labelledby="boots" {
            h2 #boots { "Boots" }
            @if boots.is_empty() { p { "It has not booted yet." } }
            @else {
                (timeline::picture(boots, details.gateway.assessed))
                @for (at, boot) in boots.iter().enumerate() {
                    details.boot open[at == 0] {
                        summary { (title(boot, details.gateway.assessed)) }
                        (steps(boot))
                    }
                }
            }
            @if !details.other.is_empty() {
                details.boot {
                    summary { "Outside of any boot" }
                    (table(&details.other, "Steps outside of any boot", None))
                }
            }
        }
    }
}

fn title(boot: &Boot, assessed: bool) -> Markup {
    html! {
        time datetime=(words::machine(boot.at)) { (words::exact(boot.at)) }
        ", generation " (boot.generation) " "
        @if boot.acknowledged { (mark(Level::Good, "acknowledged")) }
        @else if assessed { (mark(Level::Bad, "not acknowledged")) }
        @else { (mark(Level::Idle, "not assessed")) }
    }
}

fn steps(boot: &Boot) -> Markup {
    let label = format!("Steps of the boot of {}", words::exact(boot.at));
    html! {
        @if boot.steps.is_empty() {
            p.none { "The flight recorder of this host has nothing about it." }
        } @else {
            (table(&boot.steps, &label, Some(boot.at)))
        }
        @if let Some(console) = &boot.console {
            details.boot.console {
                summary { "The end of its console" }
                pre.scroll tabindex="0" { (console) }
            }
        }
    }
}

/// Steps as a table, with times from `began` on.
fn table(steps: &[Step], label: &str, began: Option<OffsetDateTime>) -> Markup {
    let rows = html! {
        @for step in steps {
            tr {
                td.number {
                    @match began {
                        Some(began) => { "+" (seconds(step.at, began)) " s" }
                        None => (words::exact(step.at)),
                    }
                }
                td { (text(&step.stage)) }
                td { (step.address) }
            }
        }
    };
    table::table("steps", label, &["Time", "Step", "From"], &rows)
}

fn seconds(at: OffsetDateTime, began: OffsetDateTime) -> String {
    format!("{:.1}", (at - began).as_seconds_f64().max(0.0))
}

/// The stage in a sentence.
fn text(stage: &Stage) -> String {
    match stage {
        Stage::Boot { generation, reason, mac, platform, ipxe } => format!(
            "asked for its script: generation {generation} ({reason}); {mac} {platform} iPXE {ipxe}"
        ),
        Stage::File { path, size, bytes, millis } => {
            let seconds = *millis as f64 / 1000.0;
            let done = if bytes < size {
                format!("{} of {}", words::size(*bytes), words::size(*size))
            } else {
                words::size(*size)
            };
            format!("{path}: {done} in {seconds:.1} s")
        }
        Stage::FileByNginx { path, size } => {
            format!("{path}: {}, sent by nginx", words::size(*size))
        }
        Stage::Secrets => "read its secrets".to_owned(),
        Stage::Acknowledged => "acknowledged".to_owned(),
        Stage::Report { report, .. } => report.to_string(),
        Stage::Error { error } => error.to_string(),
    }
}
