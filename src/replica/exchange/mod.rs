//! Passes: exchange the events and records of all gateways with the shared store.
//!
//! Touches the network, this host's events and records, and the clock. A pass lists the store and
//! this host once, and hands the listings down; an object is read and parsed once.

mod acts;
mod compact;
mod events;
mod on_disk;
mod pass;
mod published;
mod pull;
mod push;
mod records;
mod report;

pub use report::Report;

pub(super) use pass::Exchange;
