//! Serves HTTP on open connections of all listeners.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::congestion::Congestion;
use super::peer::Peer;

/// Longest wait for a request on an open connection. iPXE asks for the next file as soon as it has
/// one.
const IDLE: Duration = Duration::from_secs(90);

/// The same for a client without a certificate: either a booted system, which has one request to
/// make, or a stranger.
const STRANGERS_IDLE: Duration = Duration::from_secs(15);

/// The same for operators and their monitoring.
const OPERATORS_IDLE: Duration = Duration::from_secs(10);

/// Time that a server which stops gives a client that it has let in to shake
/// hands, and then to send its first request.
const LATE: Duration = Duration::from_secs(10);

/// Limit on request line and headers together. nginx passes on up to 32 KiB and adds an escaped
/// certificate. Clients of own TLS have the certificate in the handshake, and need less. This is
/// also the size of the read-ahead for each client's file.
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEAD_OF_CLIENTS: usize = 8 * 1024;

/// All open connections, of all listeners.
#[derive(Clone)]
pub(in crate::server) struct Connections {
    router: Router,
    idle: Duration,
    running: TaskTracker,
    stop: CancellationToken,
}

impl Connections {
    pub(in crate::server) fn new(router: Router) -> Self {
        Self { router, idle: IDLE, running: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// The same connections for the admin listener, with its own routes.
    pub(in crate::server) fn for_operators(&self, router: Router) -> Self {
        Self { router, idle: OPERATORS_IDLE, ..self.clone() }
    }

    /// The number of open connections.
    pub(in crate::server) fn count(&self) -> usize {
        self.running.len()
    }

    /// Runs [`Self::serve`] in a task of its own, which holds `place` meanwhile.
    pub(in crate::server) fn open(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Peer,
        place: impl Send + 'static,
    ) {
        let here = self.clone();
        self.spawn(async move {
            here.serve(stream, peer, Congestion::default()).await;
            drop(place);
        });
    }

    /// Runs a connection as a task that counts as open from now on.
    pub(in crate::server) fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(connection);
    }

    /// Completes some time after [`Self::drain`] was called: the grace period for clients that were
    /// let in before.
    pub(in crate::server) async fn too_late(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(LATE).await;
    }

    /// Answers requests until the client goes or [`Self::drain`] is called. The first request is
    /// answered even after that: no accepted client is left without an answer.
    pub(in crate::server) async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Peer,
        congestion: Congestion,
    ) {
        let idle = match peer {
            Peer::Tls { certificate: None, .. } => STRANGERS_IDLE,
            _ => self.idle,
        };
        let max_head = match peer {
            Peer::Tls { .. } => MAX_HEAD_OF_CLIENTS,
            Peer::Nginx | Peer::Admin { .. } | Peer::Watchdog => MAX_HEAD,
        };
        let asked = CancellationToken::new();
        let first = asked.clone();
        let service = self.router.clone().map_request(move |mut request: Request<Incoming>| {
            first.cancel();
            request.extensions_mut().insert(peer.clone());
            request.extensions_mut().insert(congestion.clone());
            request.map(Body::new)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(idle)
            .max_buf_size(max_head)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        tokio::pin!(connection);
        let stop = async {
            self.stop.cancelled().await;
            let _ = tokio::time::timeout(LATE, asked.cancelled()).await;
        };
        let result = tokio::select! {
            result = &mut connection => result,
            () = stop => {
                // Finishes the running answer and takes no other request.
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!("connection ended: {error}");
        }
    }

    /// Ends idle connections now, and each other one after its running or first answer.
    pub(in crate::server) async fn drain(&self) {
        self.stop.cancel();
        self.running.close();
        self.running.wait().await;
    }
}
