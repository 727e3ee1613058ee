//! Reads the state for the status page and the API for operators. Touches disk and clock; knows
//! nothing of HTTP.

mod changes;
mod fleet;
mod gateway;
mod rollouts;
mod stages;

pub(super) use fleet::fleet;
pub(super) use gateway::details;
pub(super) use rollouts::all_rollouts;
pub(super) use stages::Stages;
