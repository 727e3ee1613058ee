//! Rate limit for log lines that strangers can cause. Reads the clock.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// Most lines about strangers in one [`SPAN`].
const MOST: u64 = 20;

const SPAN: Duration = Duration::from_secs(10);

/// Keeps strangers from filling the log: lets a bounded number of lines through.
pub(super) struct Seldom(Mutex<State>);

struct State {
    began: Instant,
    asked: u64,
}

impl Seldom {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State { began: Instant::now(), asked: 0 }))
    }

    /// Calls `log` unless there were too many lines lately. Logs how many lines were left out
    /// before.
    pub(super) fn log(&self, log: impl FnOnce()) {
        let (now, mut left_out) = (Instant::now(), 0);
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(state.began) >= SPAN {
            left_out = state.asked.saturating_sub(MOST);
            *state = State { began: now, asked: 0 };
        }
        state.asked += 1;
        let allowed = state.asked <= MOST;
        drop(state);
        if left_out > 0 {
            tracing::warn!("left out {left_out} lines about failed connections");
        }
        if allowed {
            log();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_of_in_a_few_lines() {
        let (seldom, mut lines) = (Seldom::new(), 0);
        for _ in 0..10_000 {
            seldom.log(|| lines += 1);
        }
        assert_eq!(lines, MOST);
        // A later flood is reported again.
        let earlier = Instant::now().checked_sub(SPAN).unwrap();
        seldom.0.lock().unwrap().began = earlier;
        seldom.log(|| lines += 1);
        assert_eq!(lines, MOST + 1);
    }
}
