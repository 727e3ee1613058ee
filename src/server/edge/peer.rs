//! The listener that a request came through, and the peer behind it.

use std::net::IpAddr;
use std::net::SocketAddr;

use axum::http::HeaderMap;

use crate::server::app::Presented;

/// The listener that a request came through. It decides how the client can prove who it is.
#[derive(Clone, Debug)]
pub(in crate::server) enum Peer {
    /// Own TLS: the handshake proved that the client has the certificate's key.
    Tls {
        /// The client's certificate, if it sent one.
        certificate: Option<Presented>,
        /// The client's address; a label that decides nothing.
        address: SocketAddr,
    },
    /// The Unix socket: nginx' headers say what its handshake proved.
    Nginx,
    /// The admin listener, which serves no gateway.
    Admin {
        /// True for its Unix socket, which no web page can reach.
        unix: bool,
    },
    /// The server's own watchdog.
    Watchdog,
}

/// The client's address, for logs and journals. Behind nginx, nginx tells it.
pub(in crate::server) fn address(peer: Option<&Peer>, headers: &HeaderMap) -> String {
    match peer {
        Some(Peer::Tls { address, .. }) => address.ip().to_string(),
        Some(Peer::Admin { .. } | Peer::Watchdog) | None => "unknown".to_owned(),
        Some(Peer::Nginx) => {
            let text = headers.get("x-real-ip").and_then(|value| value.to_str().ok());
            text.and_then(|text| text.parse::<IpAddr>().ok())
                .map_or_else(|| "unknown".to_owned(), |address| address.to_string())
        }
    }
}
