//! The shared store as this host sees it: a bucket, or a directory. Every request has a time limit,
//! `Retry-After` is honoured, and errors have a type of their own.
//!
//! Touches the network, or the store's directory.

mod client;
mod credentials;
mod directory;
pub(super) mod error;
mod facts;
mod probe;
mod s3;
mod strays;
mod throttle;
mod upload;

pub use client::Remote;
pub use error::Error;

pub(super) use client::transfer_limit;
pub(super) use facts::Facts;
pub(super) use facts::StoreTime;
pub(super) use probe::probe;
