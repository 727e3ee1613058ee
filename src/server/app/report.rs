//! Reports of booted systems: each becomes a line of the flight recorder. Writes the disk.
//!
//! They come from machines that may have gone bad. So a gateway has a budget: what it says beyond
//! that is not even read. Its budget is the same however many boots it begins.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use time::OffsetDateTime;

use super::App;
use super::error::Error;
use super::error::Reach;
use super::error::Result;
use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::profile::report::Report;
use crate::profile::report::Step;
use crate::server::metrics::NO_STEP;
use crate::server::metrics::is_progress;
use crate::server::recorder::Subject;
use crate::store::consoles::Console;
use crate::store::consoles::Consoles;
use crate::store::journal::Stage;

/// Reports that a gateway may send in a row. A boot has some twenty.
const BURST: f64 = 120.0;

/// After that, one for each of these: a gateway that fails and restarts for days is heard.
const PAUSE: Duration = Duration::from_secs(2);

/// A report with a console counts as many. Boots that fail are seconds apart, not less.
const CONSOLE: f64 = 10.0;

/// Reports that gateways may still send.
#[derive(Default)]
pub(super) struct Budgets(Mutex<HashMap<GatewayId, Budget>>);

struct Budget {
    left: f64,
    since: Instant,
    /// The last step of a boot, by its name.
    last: Option<(EventId, &'static str)>,
}

impl Budgets {
    fn of<T>(&self, gateway: &GatewayId, now: Instant, ask: impl FnOnce(&mut Budget) -> T) -> T {
        // The code under this lock cannot panic.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ask(all.entry(gateway.clone()).or_insert_with(|| Budget::full(now)))
    }

    /// Takes `cost` of the budget; false if that is more than is left.
    fn spend(&self, gateway: &GatewayId, cost: f64, now: Instant) -> bool {
        self.of(gateway, now, |budget| budget.spend(cost, now))
    }
}

impl Budget {
    fn full(now: Instant) -> Self {
        Self { left: BURST, since: now, last: None }
    }

    fn spend(&mut self, cost: f64, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.since).as_secs_f64() / PAUSE.as_secs_f64();
        self.left = (self.left + earned).min(BURST);
        self.since = now;
        let enough = self.left >= cost;
        if enough {
            self.left -= cost;
        }
        enough
    }

    /// Notes the step, and returns the one that the boot reached before.
    fn reached(&mut self, boot: EventId, step: &'static str) -> &'static str {
        let before = self.last.filter(|(of, _)| *of == boot).map_or(NO_STEP, |(_, last)| last);
        if is_progress(step) {
            self.last = Some((boot, step));
        }
        before
    }
}

impl App {
    /// Lets a booted system send a report, before any of it is read. Verifies the token, and
    /// whether its gateway has said too much already. Returns the gateway.
    pub(in crate::server) fn hear(&self, token: &str) -> Result<GatewayId> {
        let gateway = self.gateway_of_boot(token)?;
        if !self.budgets.spend(&gateway, 1.0, Instant::now()) {
            return Err(Error::TooMany(format!("reports of gateway {}", gateway.name())));
        }
        Ok(gateway)
    }

    /// Records a report, and the console of a failure.
    pub(in crate::server) fn report(
        &self,
        token: &str,
        address: &str,
        report: Report,
    ) -> Result<()> {
        let running = self.boot_of(token, Reach::Disk)?;
        let (id, boot) = (&running.gateway.id, running.boot);
        let Report { uptime, step } = report;
        let (step, console) = step.received();
        let reached = |budget: &mut Budget| budget.reached(boot, step.name());
        let before = self.budgets.of(id, Instant::now(), reached);
        match step {
            Step::Failed { .. } => {
                tracing::warn!(gateway = %running.gateway.name, after = before, "boot {step}");
                self.counters.failed(before);
            }
            Step::Trouble { .. } => {
                tracing::warn!(gateway = %running.gateway.name, "gateway has {step}");
            }
            _ => tracing::info!(gateway = %running.gateway.name, "gateway reports: {step}"),
        }
        self.counters.reported(step.name());
        let (gateway_id, address) = (id.clone(), address.to_owned());
        let subject = Subject { gateway_id, boot: Some(boot), address };
        self.recorder.record(subject, Stage::Report { uptime, report: step });
        let Some(text) = console else { return Ok(()) };
        // The line is there; a console too many is left out.
        if !self.budgets.spend(id, CONSOLE, Instant::now()) {
            return Ok(());
        }
        let console = Console { boot, at: OffsetDateTime::now_utc(), text };
        if let Err(error) = Consoles::new(&self.settings().state).add(id, console) {
            tracing::warn!(gateway = %running.gateway.name, "its console is not kept: {error:#}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_never_stops_is_heard_at_its_pace() {
        let budgets = Budgets::default();
        let (bad, good): (GatewayId, GatewayId) =
            ("lab-1-0a".parse().unwrap(), "lab-2-0b".parse().unwrap());
        let began = Instant::now();
        let heard = (0..1000).filter(|_| budgets.spend(&bad, 1.0, began)).count();
        assert_eq!(heard as f64, BURST);
        assert!(budgets.spend(&good, 1.0, began));
        let later = began + 10 * PAUSE;
        let heard = (0..1000).filter(|_| budgets.spend(&bad, 1.0, later)).count();
        assert_eq!(heard, 10);
        // Silence earns no more than a burst.
        let much_later = began + 100_000 * PAUSE;
        let heard = (0..1000).filter(|_| budgets.spend(&bad, CONSOLE, much_later)).count();
        assert_eq!(heard as f64, BURST / CONSOLE);
    }
}
