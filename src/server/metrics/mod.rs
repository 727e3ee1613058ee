//! What happens here, in numbers for Prometheus: counted as it happens (`counters.rs`), or read
//! when it is asked for (`fleet.rs`). Labels are routes, statuses, reasons and gateways: none of
//! them grows with what strangers ask for.

mod counters;
pub(super) mod fleet;

pub(super) use counters::Counters;
