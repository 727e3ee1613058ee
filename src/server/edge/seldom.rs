//! Log lines that come in floods, told in a few.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// Lines in [`SPAN`] about what strangers do.
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

    /// Logs with `log`, if there were not too many lines of late; tells of those left out.
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
            tracing::warn!("left out {left_out} lines about connections that came to nothing");
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
        // Later it is told of again.
        let earlier = Instant::now().checked_sub(SPAN).unwrap();
        seldom.0.lock().unwrap().began = earlier;
        seldom.log(|| lines += 1);
        assert_eq!(lines, MOST + 1);
    }
}
