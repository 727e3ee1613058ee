//! The boots of a gateway as a picture: a line for each, its stages as bars. Pure.

use maud::Markup;
use maud::html;
use time::Duration;
use time::OffsetDateTime;

use super::model::Boot;
use super::words;
use crate::fleet::BOOT_SCRIPT;
use crate::profile::report::Step as Report;
use crate::store::journal::Stage;

/// Boots in the picture.
const MOST: usize = 12;

/// The picture has at least this width in time, and at most that; longer boots leave it.
const SHORTEST: Duration = Duration::seconds(10);
const LONGEST: Duration = Duration::minutes(15);

/// Lengths in the picture's own units.
const WIDTH: f64 = 720.0;
const LEFT: f64 = 104.0;
const RIGHT: f64 = 28.0;
const ROW: f64 = 26.0;
const BAR: f64 = 14.0;
const AXIS: f64 = 24.0;

/// The meaning of a bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Firmware,
    Script,
    File,
    System,
    Agent,
    Silence,
}

impl Kind {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Firmware, "iPXE"),
        (Self::Script, "boot script"),
        (Self::File, "files"),
        (Self::System, "system starts"),
        (Self::Agent, "reported steps"),
        (Self::Silence, "no word"),
    ];

    fn class(self) -> &'static str {
        match self {
            Self::Firmware => "bar ipxe",
            Self::Script => "bar script",
            Self::File => "bar file",
            Self::System => "bar system",
            Self::Agent => "bar agent",
            Self::Silence => "bar silence",
        }
    }
}

/// A stage, in seconds since the boot began.
#[derive(Clone, Debug, PartialEq)]
struct Bar {
    kind: Kind,
    from: f64,
    to: f64,
    text: String,
}

/// A moment at which the system of a boot said something.
#[derive(Clone, Debug, PartialEq)]
struct Point {
    at: f64,
    class: &'static str,
    text: &'static str,
}

/// A boot as it is drawn.
struct Drawn<'a> {
    boot: &'a Boot,
    bars: Vec<Bar>,
    points: Vec<Point>,
}

/// The bars of a boot: one for each file, and what is between and behind them.
fn draw(boot: &Boot) -> Drawn<'_> {
    let since = |at: OffsetDateTime| (at - boot.at).as_seconds_f64().max(0.0);
    let (mut bars, mut points, mut end) = (Vec::<Bar>::new(), Vec::new(), 0.0_f64);
    let mut handed_over = false;
    for step in &boot.steps {
        let at = since(step.at);
        match &step.stage {
            Stage::Boot { .. } => {}
            Stage::File { path, millis, .. } => {
                let from = (at - *millis as f64 / 1000.0).max(0.0);
                let script = path.as_str() == BOOT_SCRIPT;
                let kind = if script { Kind::Script } else { Kind::File };
                if from > end {
                    bars.push(Bar {
                        kind: Kind::Firmware,
                        from: end,
                        to: from,
                        text: String::new(),
                    });
                }
                bars.push(Bar { kind, from, to: at, text: path.to_string() });
                end = end.max(at);
            }
            Stage::FileByNginx { path, .. } => {
                if at > end {
                    bars.push(Bar { kind: Kind::File, from: end, to: at, text: path.to_string() });
                    end = at;
                }
            }
            Stage::Secrets | Stage::Acknowledged => {
                let good = step.stage == Stage::Acknowledged;
                if at > end {
                    bars.push(Bar { kind: Kind::System, from: end, to: at, text: String::new() });
                    end = at;
                }
                handed_over = true;
                let (class, text) = if good {
                    ("point good", "acknowledged")
                } else {
                    ("point", "read its secrets")
                };
                points.push(Point { at, class, text });
            }
            Stage::Report { report, .. } => {
                if at > end {
                    let text = report.to_string();
                    bars.push(Bar { kind: Kind::Agent, from: end, to: at, text });
                    end = at;
                }
                handed_over = true;
                match report {
                    Report::Failed { .. } => {
                        points.push(Point { at, class: "point bad", text: "failed" });
                    }
                    Report::Healthy => {
                        points.push(Point { at, class: "point", text: "healthy" });
                    }
                    _ => {}
                }
            }
            Stage::Error { .. } => {
                points.push(Point { at, class: "point bad", text: "error" });
                end = end.max(at);
            }
        }
    }
    if !boot.acknowledged {
        let to = LONGEST.as_seconds_f64();
        let text = if handed_over { "not acknowledged" } else { "nothing more was heard" };
        bars.push(Bar { kind: Kind::Silence, from: end, to, text: text.to_owned() });
    }
    Drawn { boot, bars, points }
}

impl Drawn<'_> {
    /// Time from the start of the boot to the last thing that was heard of it, in seconds.
    fn length(&self) -> f64 {
        let heard = self.bars.iter().filter(|bar| bar.kind != Kind::Silence).map(|bar| bar.to);
        heard.chain(self.points.iter().map(|point| point.at)).fold(0.0, f64::max)
    }
}

/// The picture of the latest boots. Everything in it also stands in the tables below it.
pub(super) fn picture(boots: &[Boot], assessed: bool) -> Markup {
    let drawn: Vec<_> = boots.iter().take(MOST).map(draw).collect();
    let longest = drawn.iter().map(Drawn::length).fold(0.0, f64::max);
    let span = (longest * 1.15).clamp(SHORTEST.as_seconds_f64(), LONGEST.as_seconds_f64());
    let x = |seconds: f64| LEFT + (seconds / span).min(1.0) * (WIDTH - LEFT - RIGHT);
    let height = AXIS + ROW * drawn.len() as f64 + 4.0;
    html! {
        figure.timeline {
            svg role="img" aria-labelledby="timeline-title timeline-text"
                viewBox={ "0 0 " (WIDTH) " " (height) } {
                title #timeline-title { "The latest boots" }
                desc #timeline-text { (describe(&drawn, assessed)) }
                (axis(span, x, height))
                @for (row, Drawn { boot, bars, points }) in drawn.iter().enumerate() {
                    @let y = AXIS + ROW * row as f64 + (ROW - BAR) / 2.0;
                    text.when x="0" y=(y + BAR - 3.0) { (when(boot.at)) }
                    @for bar in bars {
                        @let (from, to) = (x(bar.from), x(bar.to));
                        rect class=(bar.kind.class()) x=(number(from)) y=(y)
                            width=(number((to - from).max(1.5))) height=(BAR) {
                            title { (label(bar)) }
                        }
                    }
                    @for point in points {
                        circle class=(point.class) cx=(number(x(point.at))) cy=(y + BAR / 2.0) r="5" {
                            title { (point.text) " after " (format!("{:.1}", point.at)) " s" }
                        }
                    }
                    @let end = if boot.acknowledged { "✓" } else if assessed { "✕" } else { "" };
                    text class={ "end " (if boot.acknowledged { "good" } else { "bad" }) }
                        x=(WIDTH - RIGHT + 8.0) y=(y + BAR - 2.0) { (end) }
                }
            }
            figcaption {
                @for (kind, name) in Kind::ALL {
                    span.key { span class={ "swatch " (kind.class()) } aria-hidden="true" {} (name) }
                }
                span.key { span aria-hidden="true" { "○ " } "secrets read" }
                span.key { span aria-hidden="true" { "● " } "acknowledged" }
            }
        }
    }
}

fn axis(span: f64, x: impl Fn(f64) -> f64, height: f64) -> Markup {
    let step = [2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0]
        .into_iter()
        .find(|step| span / step <= 6.0)
        .unwrap_or(300.0);
    let ticks = (0..=6_u32).map(|tick| f64::from(tick) * step).filter(|at| *at <= span);
    html! {
        @for at in ticks {
            line.grid x1=(number(x(at))) x2=(number(x(at))) y1=(AXIS - 6.0) y2=(height) {}
            text.tick x=(number(x(at))) y="12" { (words::span(Duration::seconds_f64(at))) }
        }
    }
}

fn label(bar: &Bar) -> String {
    let name = Kind::ALL.iter().find(|(kind, _)| *kind == bar.kind).map_or("", |(_, name)| name);
    let text = if bar.text.is_empty() { name } else { &bar.text };
    match bar.kind {
        Kind::Silence => format!("{text} after {:.1} s", bar.from),
        _ => format!("{text}: {:.1} s", bar.to - bar.from),
    }
}

fn number(value: f64) -> String {
    format!("{value:.1}")
}

fn when(at: OffsetDateTime) -> String {
    format!("{:02}-{:02} {:02}:{:02}", u8::from(at.month()), at.day(), at.hour(), at.minute())
}

/// The picture in words.
fn describe(drawn: &[Drawn<'_>], assessed: bool) -> String {
    let sentences = drawn.iter().map(|drawn| {
        let (boot, length) = (drawn.boot, drawn.length());
        let end = match (boot.acknowledged, assessed) {
            (true, _) => format!("acknowledged after {length:.0} seconds"),
            (false, true) => format!("last heard of after {length:.0} seconds, not acknowledged"),
            (false, false) => format!("last heard of after {length:.0} seconds"),
        };
        format!("{}: generation {}, {end}.", words::exact(boot.at), boot.generation)
    });
    sentences.collect::<Vec<_>>().join(" ")
}
