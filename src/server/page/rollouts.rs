//! Rollouts: a line on the page of the fleet, and a page of their own. Pure.

use maud::Markup;
use maud::html;
use time::OffsetDateTime;

use super::document;
use super::document::Place;
use super::level::Level;
use super::model::Member;
use super::model::Progress;
use super::model::Rollout;
use super::row;
use super::words;

/// Members of a wave that are listed by name, those that need a look first.
const LISTED: usize = 200;

impl Progress {
    fn level(self) -> Level {
        match self {
            Self::Bad => Level::Bad,
            Self::Elsewhere => Level::Warn,
            Self::Trying => Level::Busy,
            Self::Waiting => Level::Idle,
            Self::Good => Level::Good,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Bad => "failed",
            Self::Elsewhere => "out of it",
            Self::Trying => "on trial",
            Self::Waiting => "waits",
            Self::Good => "acknowledged",
        }
    }
}

impl Rollout {
    fn members(&self) -> impl Iterator<Item = &Member> {
        self.waves.iter().flatten()
    }

    /// The wave that is being activated or tried, counted from 1.
    fn wave(&self) -> usize {
        let runs = |wave: &Vec<Member>| {
            wave.iter()
                .any(|m| !m.left_out && matches!(m.progress, Progress::Trying | Progress::Waiting))
        };
        self.waves.iter().position(runs).map_or(self.waves.len(), |at| at + 1)
    }

    /// The time at which the wave that is being tried has waited too long.
    fn deadline(&self) -> Option<OffsetDateTime> {
        let limit = self.timeout.filter(|_| self.outcome.is_none())?;
        let tried = self.waves.get(self.wave().checked_sub(1)?)?.iter();
        let tried = tried.filter(|m| !m.left_out && m.progress == Progress::Trying);
        let since = tried.filter_map(|member| member.since).max()?;
        self.resumed.map_or(since, |resumed| resumed.max(since)).checked_add(limit)
    }
}

fn good(rollout: &Rollout) -> (usize, usize) {
    let good = rollout.members().filter(|member| member.progress == Progress::Good);
    (good.count(), rollout.members().count())
}

/// The last digits of the id, which are enough for commands.
fn short(rollout: &Rollout) -> String {
    let id = rollout.id.to_string();
    id[id.len().saturating_sub(8)..].to_owned()
}

/// An open rollout in one line.
pub(super) fn line(rollout: &Rollout, now: OffsetDateTime) -> Markup {
    let (good, all) = good(rollout);
    html! {
        p.rollout {
            a href={ "/rollouts#r-" (rollout.id) } { "Rollout " code { (short(rollout)) } }
            " began " (words::ago(rollout.began, now)) ", wave " (rollout.wave()) " of "
            (rollout.waves.len()) ": "
            (bar(rollout))
            " " (good) " of " (all) " acknowledged"
        }
    }
}

/// The progress as a picture; the text beside it says the same.
fn bar(rollout: &Rollout) -> Markup {
    let (good, all) = good(rollout);
    html! { progress max=(all) value=(good) aria-label="Acknowledged gateways" { (good) " of " (all) } }
}

/// The whole page; `rollouts` are the open ones and the latest closed ones.
pub(in crate::server) fn page(rollouts: &[Rollout], now: OffsetDateTime) -> String {
    let content = html! {
        h1 { "Rollouts" }
        @if rollouts.is_empty() {
            p { "None yet. " code { "farmgate publish --canary NAME DIR --then all" } " begins one." }
        }
        @for rollout in rollouts { (section(rollout, now)) }
    };
    document::page(Place::Rollouts, "Rollouts - farmgate", None, now, content)
}

fn section(rollout: &Rollout, now: OffsetDateTime) -> Markup {
    let (good, all) = good(rollout);
    html! {
        section.rollout id={ "r-" (rollout.id) } aria-labelledby={ "t-" (rollout.id) } {
            h2 id={ "t-" (rollout.id) } { "Rollout " code { (short(rollout)) } }
            p {
                "Began " (words::ago(rollout.began, now)) ". "
                @match &rollout.outcome {
                    Some(outcome) => {
                        "Closed: " (outcome) @if rollout.taken_back { ", and taken back" } "."
                        @if rollout.can_resume {
                            " " code { "farmgate rollout resume " (short(rollout)) } " goes on with it."
                        }
                    }
                    None => { "Open, wave " (rollout.wave()) " of " (rollout.waves.len()) "." }
                }
                " " (good) " of " (all) " gateways acknowledged it. " (bar(rollout))
            }
            (rules(rollout, now))
            @for (number, wave) in rollout.waves.iter().enumerate() { (self::wave(number + 1, wave, now)) }
        }
    }
}

/// The rules by which a wave is over or has waited too long, and the number of those left out.
fn rules(rollout: &Rollout, now: OffsetDateTime) -> Markup {
    let left_out = rollout.members().filter(|member| member.left_out).count();
    html! {
        @if rollout.wait_for.is_some() || rollout.timeout.is_some() || rollout.resumed.is_some() {
            p {
                @if let Some(share) = &rollout.wait_for {
                    "A wave is over when " (share) " of it works. "
                }
                @if let Some(limit) = rollout.timeout {
                    "It stops when a wave takes longer than " (words::span(limit))
                    @match rollout.deadline() {
                        Some(deadline) if deadline > now => {
                            ": wave " (rollout.wave()) " has "
                            span title=(words::exact(deadline)) { (words::span(deadline - now)) }
                            " left. "
                        }
                        Some(_) => { ": wave " (rollout.wave()) " has none left. " }
                        None => { ". " }
                    }
                }
                @if let Some(resumed) = rollout.resumed {
                    "Resumed " (words::ago(resumed, now))
                    @match left_out {
                        0 => { "." }
                        1 => { ", without the gateway that is left out." }
                        count => { ", without " (count) " gateways that are left out." }
                    }
                }
            }
        }
    }
}

fn wave(number: usize, wave: &[Member], now: OffsetDateTime) -> Markup {
    let mut members: Vec<&Member> = wave.iter().collect();
    members.sort_by_key(|member| member.progress.level());
    let left_out = members.len().saturating_sub(LISTED);
    html! {
        h3 { "Wave " (number) }
        ul.members {
            @for member in members.into_iter().take(LISTED) {
                li {
                    a href=(row::address(&member.gateway)) { (member.gateway) } " "
                    (row::mark(member.progress.level(), member.progress.word()))
                    @if let (Progress::Trying, Some(since)) = (member.progress, member.since) {
                        " since " (words::ago(since, now))
                    }
                    @if member.left_out { " " span.label { "left out" } }
                }
            }
        }
        @if left_out > 0 { p { "and " (left_out) " more" } }
    }
}
