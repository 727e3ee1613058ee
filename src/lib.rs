//! farmgate boots a fleet of CI-farm gateways from one place.
//!
//! Dependencies point one way only:
//!
//! ```text
//! main → cli → doctor → { server, iso } → sync → publish → { bucket, replica, images } → { store, http_client } → process → { fleet, identity, ipxe, profile, config, near, foreign, backoff }
//! ```
//!
//! The last group is pure: bytes in, values out, without tokio, axum, clock, files or environment.
//! `process` reads `/proc`. Only [`server`] knows axum. [`agent`] is another program, which runs on
//! the gateways: it shares `profile`, `foreign` and `backoff` with this one.

pub mod agent;
pub mod backoff;
pub mod bucket;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod fleet;
pub mod foreign;
pub mod http_client;
pub mod identity;
pub mod images;
pub mod ipxe;
pub mod iso;
pub mod near;
pub mod process;
pub mod profile;
pub mod publish;
pub mod replica;
pub mod server;
pub mod store;
pub mod sync;
