//! The clock of this machine, on which certificates, S3's signatures and the order of events
//! depend. Asks other hosts for the time.

use std::process::Command;

use anyhow::Result;
use time::Duration;
use time::OffsetDateTime;

use super::finding::Findings;
use super::finding::Verdict;
use super::reach;
use crate::fleet::ObjectName;
use crate::server;
use crate::store::State;
use crate::store::generations::Generations;

const CHECK: &str = "clock";

/// S3 refuses signatures that are 15 minutes off.
const TOO_FAR: Duration = Duration::minutes(10);
const FAR: Duration = Duration::minutes(1);

const WAY_OUT: &str = "run systemd-timesyncd, chrony or ntpd";

pub(super) async fn examine(state: &State, now: OffsetDateTime, findings: &mut Findings) {
    // First, since a wrong clock explains findings about certificates.
    for problem in server::clock_problems(state, now).unwrap_or_default() {
        let (what, way_out) = problem.split_once("; ").unwrap_or((&problem, WAY_OUT));
        findings.error(CHECK, what, way_out);
    }
    match latest_event(state) {
        Ok(Some(latest)) if latest - now > TOO_FAR => findings.warning(
            CHECK,
            format!(
                "the newest event is from {} s in the future: this clock was set back, or that of \
                 another boot host is ahead",
                (latest - now).whole_seconds()
            ),
            WAY_OUT,
        ),
        Ok(_) => {}
        Err(error) => findings.skipped(CHECK, format!("events cannot be read: {error:#}")),
    }
    for (url, theirs) in reach::clocks(state.config()).await {
        let off = theirs - OffsetDateTime::now_utc();
        let what = format!("this clock and that of {url} are {} s apart", off.whole_seconds());
        if off.abs() > TOO_FAR {
            findings.warning(CHECK, format!("{what}: S3 refuses its signatures"), WAY_OUT);
        } else if off.abs() > FAR {
            findings.warning(CHECK, what, WAY_OUT);
        }
    }
    let bad = findings.has(CHECK, Verdict::Warning) || findings.has(CHECK, Verdict::Error);
    match synchronised() {
        Some(false) => {
            findings.warning(CHECK, "this clock is not synchronised (timedatectl)", WAY_OUT);
        }
        Some(true) if !bad => {
            findings.ok(CHECK, "synchronised");
        }
        None if !bad => {
            findings.ok(CHECK, "no sign that it is wrong; nothing here can prove that it is right");
        }
        _ => {}
    }
}

/// Asks systemd whether the clock is synchronised; `None` without systemd.
fn synchronised() -> Option<bool> {
    let mut ask = Command::new("timedatectl");
    let said = ask.args(["show", "--property=NTPSynchronized", "--value"]).output().ok()?;
    match said.stdout.trim_ascii() {
        b"yes" => Some(true),
        b"no" => Some(false),
        _ => None,
    }
}

fn latest_event(state: &State) -> Result<Option<OffsetDateTime>> {
    let generations = Generations::new(state);
    let mut latest = None;
    for gateway in generations.gateways()? {
        let names = generations.objects(&gateway)?.into_iter();
        let times = names.map(|name| match name {
            ObjectName::Event(id) | ObjectName::Pack(id) => id.time(),
        });
        latest = latest.max(times.max());
    }
    Ok(latest)
}
