//! Runs the real program. One binary for all topics: it links once.

// Here a panic is how a test says what went wrong.
#![allow(clippy::unwrap_used)]

mod common;

mod api;
mod assessment;
mod bucket_faults;
mod buckets;
mod check;
mod clock;
mod doctor;
mod garage;
mod gateways;
mod iso;
mod layers;
mod metrics;
mod nginx_config;
mod object_stores;
mod ownership;
mod packaging;
mod provisioning;
mod publish;
mod reload;
mod reroot;
mod rollout;
mod secrets;
mod serve;
mod state;
mod status;
mod stop;
mod store;
mod systemd;
