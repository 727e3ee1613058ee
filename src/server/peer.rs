use std::net::SocketAddr;

/// Through which door a request came: decides how the client can prove who it is.
#[derive(Clone, Debug)]
pub(super) enum Peer {
    /// Own TLS: the handshake proved that the client has the certificate's key.
    Tls {
        /// The client's certificate (DER), if it has one.
        certificate: Option<Vec<u8>>,
        /// Where it comes from; a label.
        address: SocketAddr,
    },
    /// The Unix socket: nginx says in headers what its handshake proved.
    Nginx,
}
