//! Listeners and connections: sockets, TLS, systemd. `http` answers the requests that come through
//! them.

pub(super) mod accept;
pub(super) mod congestion;
pub(super) mod connection;
pub(super) mod doors;
pub(super) mod operators;
pub(super) mod peer;
pub(super) mod room;
mod seldom;
mod socket;
pub(super) mod systemd;
pub(super) mod tls;
mod tls_verifier;
pub(super) mod watchdog;
