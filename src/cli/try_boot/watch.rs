//! The progress of a boot: from the machine's console, and from the journal and the events of the
//! boot host. Pure, apart from reading those.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::foreign::Foreign;
use crate::store::State;
use crate::store::generations::Generations;
use crate::store::journal::Entry;
use crate::store::journal::Journals;
use crate::store::journal::Stage;

/// Lines of the console that are kept.
const KEPT: usize = 30;

/// A stage, and when it was reached.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Reached {
    /// Seconds since the power was switched on.
    pub(super) seconds: f64,
    pub(super) stage: String,
}

/// One boot that is watched.
#[derive(Default)]
pub(super) struct Watch {
    /// The card's address as iPXE tells it: the gateway itself may boot meanwhile.
    mac: String,
    pub(super) boot: Option<EventId>,
    pub(super) generation: Option<u64>,
    pub(super) stages: Vec<Reached>,
    pub(super) console: VecDeque<String>,
    /// Entries of the journal that were seen.
    seen: usize,
    pub(super) acknowledged: bool,
}

impl Watch {
    pub(super) fn new(mac: &str) -> Self {
        Self { mac: mac.replace(':', "-"), ..Self::default() }
    }

    /// Takes what is new on the console.
    pub(super) fn console(&mut self, lines: Vec<String>, at: Duration) {
        for line in lines {
            if let Some(stage) = on_console(&line) {
                self.reach(stage, at);
            }
            if self.console.len() >= KEPT {
                self.console.pop_front();
            }
            self.console.push_back(line);
        }
    }

    /// Takes what is new at the boot host.
    pub(super) fn boot_host(&mut self, state: &State, id: &GatewayId, at: Duration) -> Result<()> {
        let journal = Journals::new(state).read(id)?;
        self.journal(&journal, at);
        let Some(boot) = self.boot else { return Ok(()) };
        // The event decides, and is there before its line.
        let history = Generations::new(state).readable(id)?.history;
        if history.boots().get(&boot).is_some_and(|boot| boot.acknowledged) && !self.acknowledged {
            self.acknowledged = true;
            self.reach("acknowledged".to_owned(), at);
        }
        Ok(())
    }

    fn journal(&mut self, journal: &[Entry], at: Duration) {
        if self.boot.is_none() {
            let asked = journal.iter().rev().find(
                |entry| matches!(&entry.stage, Stage::Boot { mac, .. } if mac.as_str() == self.mac),
            );
            self.boot = asked.and_then(|entry| entry.boot);
        }
        let Some(boot) = self.boot else { return };
        let own: Vec<_> = journal.iter().filter(|entry| entry.boot == Some(boot)).collect();
        for entry in own.iter().skip(self.seen) {
            if let Stage::Boot { generation, .. } = &entry.stage {
                self.generation = Some(*generation);
            }
            if let Some(stage) = in_words(&entry.stage) {
                self.reach(stage, at);
            }
        }
        // A journal that was begun anew has fewer.
        self.seen = own.len();
    }

    fn reach(&mut self, stage: String, at: Duration) {
        let seconds = (at.as_secs_f64() * 10.0).round() / 10.0;
        self.stages.push(Reached { seconds, stage });
    }

    pub(super) fn last_stage(&self) -> &str {
        self.stages.last().map_or("power on", |reached| &reached.stage)
    }
}

/// The stage that a line of the console tells of, if it is one of those.
fn on_console(line: &str) -> Option<String> {
    if line.contains("Open Source Network Boot Firmware") {
        return Some("iPXE started".to_owned());
    }
    if line.contains("Linux version ") {
        return Some("Linux started".to_owned());
    }
    if line.contains("Kernel panic") {
        return Some(line.to_owned());
    }
    let told = line.strip_prefix("farmgate: ")?;
    Some(told.to_owned())
}

fn in_words(stage: &Stage) -> Option<String> {
    Some(match stage {
        Stage::Boot { generation, reason, ipxe, .. } => {
            format!("the boot host sends generation {generation} ({reason}) to iPXE {ipxe}")
        }
        Stage::File { path, size, bytes, .. } if bytes < size => {
            format!("{path}: only {bytes} of {size} bytes were taken")
        }
        Stage::File { path, size, .. } => format!("{path}: {size} bytes"),
        Stage::FileByNginx { path, size } => format!("{path}: {size} bytes, by nginx"),
        Stage::Secrets => "the booted system read its secrets".to_owned(),
        // The event says it.
        Stage::Acknowledged => return None,
        Stage::Report { report, .. } => report.to_string(),
        Stage::Error { error } => Foreign::new(error.as_str()).as_str().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    const BOOT: &str = "0192a8c0-0000-7000-8000-000000000007";
    const OTHER: &str = "0192a8c0-0000-7000-8000-000000000008";

    fn entry(boot: &str, stage: Stage) -> Entry {
        Entry {
            at: OffsetDateTime::UNIX_EPOCH,
            boot: EventId::parse(boot),
            address: Foreign::new("127.0.0.1"),
            stage,
        }
    }

    fn asks(boot: &str, mac: &str) -> Entry {
        let stage = Stage::Boot {
            generation: 3,
            reason: "current".to_owned(),
            mac: Foreign::new(mac),
            platform: Foreign::new("efi"),
            ipxe: Foreign::new("1.21.1"),
        };
        entry(boot, stage)
    }

    fn stages(watch: &Watch) -> Vec<&str> {
        watch.stages.iter().map(|reached| reached.stage.as_str()).collect()
    }

    /// The gateway itself boots at the same time, from its own card.
    #[test]
    fn only_the_boot_of_this_machine_is_watched() {
        let mut watch = Watch::new("52:54:00:01:02:03");
        let file = |boot| {
            entry(boot, Stage::File { path: "vmlinuz".into(), size: 9, bytes: 9, millis: 1 })
        };
        let mut journal = vec![asks(OTHER, "52-54-00-ff-ff-ff"), file(OTHER)];
        watch.journal(&journal, Duration::ZERO);
        assert!(watch.boot.is_none() && watch.stages.is_empty());
        journal.extend([asks(BOOT, "52-54-00-01-02-03"), file(OTHER)]);
        watch.journal(&journal, Duration::ZERO);
        watch.journal(&journal, Duration::ZERO);
        journal.push(file(BOOT));
        watch.journal(&journal, Duration::from_millis(1234));
        let expected = "the boot host sends generation 3 (current) to iPXE 1.21.1";
        assert_eq!(stages(&watch), [expected, "vmlinuz: 9 bytes"]);
        assert_eq!((watch.generation, watch.stages[1].seconds), (Some(3), 1.2));
    }

    #[test]
    fn the_console_tells_what_the_boot_host_does_not_see() {
        let mut watch = Watch::new("");
        let lines = [
            "iPXE 1.21.1 -- Open Source Network Boot Firmware -- https://ipxe.org",
            "farmgate: no boot from https://a.example (error 410de13c)",
            "something else",
        ];
        watch.console(lines.iter().map(|line| (*line).to_owned()).collect(), Duration::ZERO);
        assert_eq!(stages(&watch)[0], "iPXE started");
        assert_eq!(watch.last_stage(), "no boot from https://a.example (error 410de13c)");
        assert_eq!(watch.console.len(), 3);
        watch.console(vec!["x".to_owned(); 2 * KEPT], Duration::ZERO);
        assert_eq!(watch.console.len(), KEPT);
    }
}
