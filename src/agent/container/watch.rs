//! Watches over a container: decides when it is started, whether it works, and whether the gateway
//! has to restart. A state machine: events and the time in, actions out. Pure.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::profile::agent::Restart;

/// A container without a health address works once it has run for so long.
const STEADY: Duration = Duration::from_secs(15);
/// After so long a run, what was before does not count.
const LONG: Duration = Duration::from_secs(10 * 60);
/// A container that has not answered for so long is ended.
const SILENT: Duration = Duration::from_secs(3 * 60);
/// Time that a container may take to end.
const ENDING: Duration = Duration::from_secs(30);
/// After so many short runs in a row, only a restart of the gateway may help.
const MOST_SHORT: u32 = 8;
const WAITS: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// Statuses of a container that asked the kernel to restart or to power off: its process 1 was ended
/// by signal 1 or 2 (reboot(2)).
const RESTARTED: i32 = 128 + 1;
const POWERED_OFF: i32 = 128 + 2;

/// Times are since any moment, such as the start of the kernel.
type Time = Duration;

/// A thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing; time goes on.
    Tick,
    /// It ended with this status, or could not be started.
    Ended(i32),
    /// Its health address answered, or did not.
    Answered(bool),
}

/// A thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Start,
    /// End it; [`Event::Ended`] follows.
    End,
    /// Tell the boot host.
    Tell(String),
    /// The boot failed: restart the gateway.
    Fail(String),
    /// The container asked for a restart of the gateway.
    Restart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be started then.
    Waiting(Time),
    /// Since when it runs, and when it last answered.
    Running { since: Time, answered: Time },
    /// It was told to end.
    Ending(Time),
    /// It has done what it was to do, or the gateway restarts.
    Over,
}

/// One container.
#[derive(Clone, Debug)]
pub struct Watch {
    restart: Restart,
    /// True if it has a health address.
    asked: bool,
    state: State,
    short: u32,
    works: bool,
}

impl Watch {
    pub fn new(restart: Restart, has_health: bool) -> Self {
        let state = State::Waiting(Time::ZERO);
        Self { restart, asked: has_health, state, short: 0, works: false }
    }

    /// True once it works, or has done what it was to do.
    pub fn works(&self) -> bool {
        self.works
    }

    /// Takes what happened at `now`.
    pub fn on(&mut self, now: Time, event: Event) -> Vec<Action> {
        match (self.state, event) {
            (State::Waiting(until), Event::Tick) if now >= until => {
                self.state = State::Running { since: now, answered: now };
                vec![Action::Start]
            }
            (State::Running { since, .. } | State::Ending(since), Event::Ended(status)) => {
                self.ended(now, since, status)
            }
            (State::Running { since, .. }, Event::Answered(true)) => {
                self.works = true;
                self.state = State::Running { since, answered: now };
                Vec::new()
            }
            (State::Running { since, answered }, _) => self.look(now, since, answered),
            (State::Ending(since), Event::Tick) if now >= since + ENDING => {
                self.state = State::Over;
                vec![Action::Fail("does not end, whatever is done".to_owned())]
            }
            _ => Vec::new(),
        }
    }

    fn look(&mut self, now: Time, since: Time, answered: Time) -> Vec<Action> {
        if !self.asked {
            self.works |= now >= since + STEADY && self.restart == Restart::Always;
            return Vec::new();
        }
        if now < answered + SILENT {
            return Vec::new();
        }
        self.state = State::Ending(now);
        // Its run was no good one, however long.
        self.short += 1;
        let seconds = SILENT.as_secs();
        vec![Action::Tell(format!("has not answered for {seconds} s and is ended")), Action::End]
    }

    fn ended(&mut self, now: Time, since: Time, status: i32) -> Vec<Action> {
        if [RESTARTED, POWERED_OFF].contains(&status) {
            self.state = State::Over;
            return vec![Action::Restart];
        }
        if self.restart == Restart::Never {
            self.state = State::Over;
            if status == 0 {
                self.works = true;
                return Vec::new();
            }
            return vec![Action::Fail(format!("ended with status {status}"))];
        }
        let hung = matches!(self.state, State::Ending(_));
        if !hung {
            self.short = if now >= since + LONG { 0 } else { self.short + 1 };
        }
        if self.short >= MOST_SHORT {
            self.state = State::Over;
            let short = self.short;
            let what = format!("ended with status {status}, for the {short}th time in a row");
            return vec![Action::Fail(what)];
        }
        let wait = WAITS.wait(self.short.saturating_sub(1), None, 0.0);
        self.state = State::Waiting(now + wait);
        let seconds = wait.as_secs();
        let what = format!("ended with status {status}, and is started again in {seconds} s");
        vec![Action::Tell(what)]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_secs(seconds)
    }

    fn started(restart: Restart, has_health: bool) -> Watch {
        let mut watch = Watch::new(restart, has_health);
        assert_eq!(watch.on(at(1), Event::Tick), [Action::Start]);
        assert!(!watch.works());
        watch
    }

    #[test]
    fn a_container_works_once_it_answers() {
        let mut watch = started(Restart::Always, true);
        watch.on(at(100), Event::Answered(false));
        watch.on(at(101), Event::Tick);
        assert!(!watch.works());
        watch.on(at(102), Event::Answered(true));
        assert!(watch.works());
    }

    #[test]
    fn a_container_without_an_address_works_once_it_has_run_for_a_while() {
        let mut watch = started(Restart::Always, false);
        watch.on(at(15), Event::Tick);
        assert!(!watch.works());
        watch.on(at(16), Event::Tick);
        assert!(watch.works());
    }

    #[test]
    fn a_container_that_runs_once_works_when_it_has_ended_well() {
        let mut watch = started(Restart::Never, false);
        watch.on(at(1000), Event::Tick);
        assert!(!watch.works());
        assert_eq!(watch.on(at(1001), Event::Ended(0)), []);
        assert!(watch.works());
        assert_eq!(watch.on(at(9000), Event::Tick), []);
        let mut watch = started(Restart::Never, false);
        let failed = Action::Fail("ended with status 3".to_owned());
        assert_eq!(watch.on(at(2), Event::Ended(3)), [failed]);
        assert!(!watch.works());
    }

    #[test]
    fn a_container_that_ends_at_once_is_started_after_growing_waits_and_then_fails_the_boot() {
        let mut watch = started(Restart::Always, false);
        let (mut now, mut waits) = (1, Vec::new());
        loop {
            let done = watch.on(at(now), Event::Ended(1));
            if matches!(done[..], [Action::Fail(_)]) {
                break;
            }
            let ended = now;
            while watch.on(at(now), Event::Tick) != [Action::Start] {
                now += 1;
            }
            waits.push(now - ended);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60]);
        assert!(!watch.works());
    }

    #[test]
    fn a_long_run_makes_earlier_ones_forgotten() {
        let mut watch = started(Restart::Always, false);
        let mut now = 1;
        for _ in 0..50 {
            now += LONG.as_secs();
            assert!(matches!(watch.on(at(now), Event::Ended(1))[..], [Action::Tell(_)]));
            now += 1;
            assert_eq!(watch.on(at(now), Event::Tick), [Action::Start]);
        }
    }

    #[test]
    fn a_container_that_hangs_is_ended() {
        let mut watch = started(Restart::Always, true);
        watch.on(at(5), Event::Answered(true));
        assert_eq!(watch.on(at(184), Event::Answered(false)), []);
        let done = watch.on(at(185), Event::Answered(false));
        assert!(matches!(done[..], [Action::Tell(_), Action::End]), "{done:?}");
        assert!(matches!(watch.on(at(186), Event::Ended(137))[..], [Action::Tell(_)]));
        let mut stuck = started(Restart::Always, true);
        stuck.on(at(200), Event::Tick);
        assert!(matches!(stuck.on(at(230), Event::Tick)[..], [Action::Fail(_)]));
    }

    #[test]
    fn a_container_that_restarts_or_powers_off_restarts_the_gateway() {
        for status in [RESTARTED, POWERED_OFF] {
            let mut watch = started(Restart::Always, false);
            assert_eq!(watch.on(at(9), Event::Ended(status)), [Action::Restart]);
        }
    }

    fn events() -> impl Strategy<Value = Vec<(u64, Event)>> {
        let event = prop_oneof![
            3 => Just(Event::Tick),
            2 => any::<u8>().prop_map(|status| Event::Ended(status.into())),
            2 => any::<bool>().prop_map(Event::Answered),
        ];
        prop::collection::vec((0u64..400, event), 0..120)
    }

    proptest! {
        /// Whatever happens: at most one is running, an end is only asked of one that runs, and after
        /// the last word there is none.
        #[test]
        fn starts_and_ends_alternate(
            always in any::<bool>(), health in any::<bool>(), events in events(),
        ) {
            let restart = if always { Restart::Always } else { Restart::Never };
            let mut watch = Watch::new(restart, health);
            let (mut now, mut runs, mut ending, mut over) = (0, false, false, false);
            for (passed, event) in events {
                now += passed;
                // A container that does not run does not end.
                if matches!(event, Event::Ended(_)) && !runs {
                    continue;
                }
                if matches!(event, Event::Ended(_)) {
                    (runs, ending) = (false, false);
                }
                for action in watch.on(at(now), event) {
                    prop_assert!(!over, "{action:?} after the last word");
                    match action {
                        Action::Start => {
                            prop_assert!(!runs);
                            runs = true;
                        }
                        Action::End => {
                            prop_assert!(runs && !ending);
                            ending = true;
                        }
                        Action::Fail(_) | Action::Restart => over = true,
                        Action::Tell(_) => {}
                    }
                }
                let runs_now = matches!(watch.state, State::Running { .. });
                prop_assert!(watch.works() || event != Event::Answered(true) || !runs_now);
            }
        }
    }
}
