//! Runs the real program. One binary for all topics: it links once.

mod common;

mod check;
mod gateways;
mod layers;
mod nginx_config;
mod publish;
mod reroot;
mod serve;
mod state;
mod stop;
