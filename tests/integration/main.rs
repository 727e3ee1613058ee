//! Runs the real program. One binary for all topics: it links once.

// Here a panic is how a test says what went wrong.
#![allow(clippy::unwrap_used)]

mod common;

mod agent_initramfs;
mod api;
mod assessment;
mod backup;
mod blobs;
mod bucket_faults;
mod buckets;
mod busy;
mod certificates;
mod check;
mod clock;
mod commit_log;
mod completions;
mod configuration;
mod connections;
mod damage;
mod docs;
mod doctor;
mod flash;
mod fleet_folder;
mod garage;
mod gateway_toml;
mod gateways;
mod gc;
mod get;
mod git;
mod groups;
mod import;
mod iso;
mod json;
mod layers;
mod leases;
mod log;
mod metrics;
mod nginx_config;
mod nginx_logs;
mod object_stores;
mod old_state;
mod output;
mod ownership;
mod packaging;
mod page;
mod provisioning;
mod publish;
mod refusals;
mod reload;
mod relocate;
mod rename;
mod reports;
mod reroot;
mod revoked;
mod rollout;
mod secrets;
mod serve;
mod state;
mod status;
mod stop;
mod store;
mod sync;
mod systemd;
mod webhook;
