//! The condition of a gateway: faults, or its present work, in a few words. Pure.

use time::Duration;
use time::OffsetDateTime;

use super::level::Finding;
use super::level::Level;
use super::model::Certificate;
use super::model::Gateway;
use super::words;
use crate::fleet::Reason;

/// A boot that was not acknowledged within this time is stuck. The alert rules and
/// `server/app/boots.rs` use the same time.
pub(in crate::server) const LONGEST_BOOT: Duration = Duration::minutes(15);

/// Certificates that end within this time are shown as warnings, as in the alert rules.
pub(in crate::server) const ENDS_SOON: Duration = Duration::days(60);

/// All findings, worst first, and at least one.
pub(in crate::server) fn findings(gateway: &Gateway, now: OffsetDateTime) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut say = |level, word, text: String| found.push(Finding { level, word, text });
    if let Some(error) = &gateway.error {
        say(Level::Bad, "unreadable", error.clone());
        return found;
    }
    // Nobody waits for a gateway that is not let in.
    if gateway.certificate == Certificate::Revoked {
        say(Level::Idle, "revoked", "every certificate is revoked".to_owned());
        return found;
    }
    about_certificate(gateway, now, &mut say);
    about_generation(gateway, &mut say);
    about_boot(gateway, now, &mut say);
    match gateway.faults.split_first() {
        None => {}
        Some((fault, [])) => say(Level::Bad, "files missing", fault.clone()),
        Some((fault, more)) => {
            say(Level::Bad, "files missing", format!("{fault}, and {} more", more.len()));
        }
    }
    if let Some(bucket) = gateway.bucket.as_ref().filter(|bucket| !bucket.is_well) {
        let text = bucket.error.clone().unwrap_or_else(|| bucket.state.to_owned());
        let level = if bucket.error.is_some() { Level::Warn } else { Level::Idle };
        say(level, "bucket", text);
    }
    if found.is_empty() {
        found.push(Finding { level: Level::Good, word: "fine", text: String::new() });
    }
    found.sort_by_key(|finding| finding.level);
    found
}

fn about_certificate(
    gateway: &Gateway,
    now: OffsetDateTime,
    say: &mut impl FnMut(Level, &'static str, String),
) {
    match gateway.certificate {
        Certificate::Active(until) if until <= now => {
            say(Level::Bad, "certificate ended", format!("on {}", until.date()));
        }
        Certificate::Active(until) if until - now < ENDS_SOON => {
            let text = format!("in {} on {}", words::span(until - now), until.date());
            say(Level::Warn, "certificate ends", text);
        }
        Certificate::Retiring => {
            let text = "only an older one is valid; `farmgate gateway renew` makes one".to_owned();
            say(Level::Warn, "no active certificate", text);
        }
        Certificate::Active(_) | Certificate::Revoked | Certificate::Unknown => {}
    }
}

fn about_generation(gateway: &Gateway, say: &mut impl FnMut(Level, &'static str, String)) {
    let Some(next) = gateway.next else {
        say(Level::Idle, "nothing published", String::new());
        return;
    };
    match next.reason {
        Reason::NothingBetter { tries } => say(
            Level::Bad,
            "does not work",
            format!(
                "generation {}, {tries} boots without an acknowledgement, and no good one to go \
                 back to",
                next.generation
            ),
        ),
        Reason::FellBack { from, tries } => say(
            Level::Warn,
            "fell back",
            format!(
                "to generation {}: {from} is bad, {tries} boots without an acknowledgement",
                next.generation
            ),
        ),
        Reason::Trying { attempt, tries } => {
            let used = attempt.saturating_sub(1);
            let text = format!("generation {}, {used} of {tries} tries used", next.generation);
            say(Level::Busy, "on trial", text);
        }
        Reason::Pinned | Reason::NotAssessed | Reason::Good => {}
    }
}

fn about_boot(
    gateway: &Gateway,
    now: OffsetDateTime,
    say: &mut impl FnMut(Level, &'static str, String),
) {
    let Some(boot) = &gateway.last_boot else {
        if gateway.next.is_some() {
            say(Level::Idle, "never booted", String::new());
        }
        return;
    };
    if boot.acknowledged || !gateway.assessed {
        return;
    }
    let since = now - boot.at;
    if since >= LONGEST_BOOT {
        let reached = match &boot.stage {
            Some(stage) => format!("last sign of life: {}", words::stage(stage)),
            None => "not acknowledged".to_owned(),
        };
        say(Level::Bad, "stuck", format!("for {}, {reached}", words::span(since)));
    } else {
        let text = format!("generation {} since {}", boot.generation, words::span(since));
        say(Level::Busy, "booting", text);
    }
}
