//! HTTP: routes, handlers, and the mapping from [`App`](super::app::App)'s results to answers.

mod ack;
pub(super) mod admin;
mod asset;
mod bell;
mod body;
mod boot;
mod client;
mod error;
mod file_body;
mod front;
mod generation;
mod images;
mod metrics;
mod nginx_headers;
mod observe;
mod page;
mod report;
pub(super) mod router;
mod routes;
mod secrets;
mod turns;
mod update;

pub(super) use front::Front;
