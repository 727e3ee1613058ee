//! Time on the gateway, and until when it may be quiet. The boot says before each of its steps by
//! when the next one must come; process 1 feeds the watchdog only so long.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::time::ClockId;
use rustix::time::clock_gettime;

const DEADLINE: &str = "/run/farmgate/deadline";

/// Time that process 1 waits for the first deadline.
const FIRST: Duration = Duration::from_secs(120);

/// Time since the kernel started, sleep included.
pub fn uptime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// Says that the next step comes within `time`.
pub fn expect_within(time: Duration) {
    let deadline = (uptime() + time).as_secs();
    let new = format!("{DEADLINE}.new");
    // A gateway that cannot write to its memory is to be restarted.
    let _ = fs::write(&new, deadline.to_string()).and_then(|()| fs::rename(&new, DEADLINE));
}

/// Time since the promised one; zero before it.
pub fn overdue() -> Duration {
    let promised = fs::read_to_string(Path::new(DEADLINE)).unwrap_or_default();
    let deadline = promised.parse().map_or(FIRST, Duration::from_secs);
    uptime().saturating_sub(deadline)
}
