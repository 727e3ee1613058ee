//! HTTP: routes, and what the answers of [`App`](super::app::App) become in it.

mod ack;
pub(super) mod admin;
mod asset;
mod boot;
mod client;
mod error;
mod file_body;
mod front;
mod generation;
mod metrics;
mod nginx_headers;
mod observe;
pub(super) mod router;
mod routes;
mod secrets;
mod turns;

pub(super) use front::Front;
