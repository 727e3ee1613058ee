//! Through which door a request came.

use std::net::IpAddr;
use std::net::SocketAddr;

use axum::http::HeaderMap;

use crate::server::app::Presented;

/// Through which door a request came: decides how the client can prove who it is.
#[derive(Clone, Debug)]
pub(in crate::server) enum Peer {
    /// Own TLS: the handshake proved that the client has the certificate's key.
    Tls {
        /// The client's certificate, if it has one.
        certificate: Option<Presented>,
        /// Where it comes from; a label.
        address: SocketAddr,
    },
    /// The Unix socket: nginx says in headers what its handshake proved.
    Nginx,
    /// The admin listener: nobody's gateway.
    Admin {
        /// Whether by its Unix socket, which no web page can reach.
        unix: bool,
    },
    /// The server itself, to see whether it answers.
    Watchdog,
}

/// Where a request comes from, for logs and journals. Behind nginx it is what nginx
/// says.
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
