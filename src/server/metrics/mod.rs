//! Metrics for Prometheus: counters kept in memory (`counters.rs`), and values read at scrape time
//! (`fleet.rs`). Labels are routes, statuses, reasons and gateways, so strangers cannot create new
//! series.

mod counters;
pub(super) mod fleet;

pub(super) use counters::Counters;
pub(super) use counters::NO_STEP;
pub(super) use counters::is_progress;
