//! Serves HTTP on open connections, of all doors.

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

/// Longest wait for a request on an open connection. iPXE asks for the next
/// file as soon as it has one.
const IDLE: Duration = Duration::from_secs(90);

/// The same for who has shaken hands without a certificate: a booted system, which has one thing
/// to ask, or anybody.
const STRANGERS_IDLE: Duration = Duration::from_secs(15);

/// The same for operators and their monitoring.
const OPERATORS_IDLE: Duration = Duration::from_secs(10);

/// Time that a server which stops gives a client that it has let in to shake
/// hands, and then to send its first request.
const LATE: Duration = Duration::from_secs(10);

/// Most bytes of request line and headers together: of nginx, which passes on up to 32 KiB and adds
/// an escaped certificate, and of clients that say who they are in the handshake. It is also what
/// is read ahead of a file for each client.
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEAD_OF_CLIENTS: usize = 8 * 1024;

/// All open connections, of all doors.
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

    /// The same connections, for the door of operators, which leads to other routes.
    pub(in crate::server) fn for_operators(&self, router: Router) -> Self {
        Self { router, idle: OPERATORS_IDLE, ..self.clone() }
    }

    /// How many connections are open.
    pub(in crate::server) fn count(&self) -> usize {
        self.running.len()
    }

    /// [`Self::serve`] in a task of its own, which keeps `place` meanwhile.
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

    /// Runs what serves one connection, as a task that counts as open from now on.
    pub(in crate::server) fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(connection);
    }

    /// Ends some time after [`Self::drain`] was called: who was let in before, and
    /// is not ready then, is given up.
    pub(in crate::server) async fn too_late(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(LATE).await;
    }

    /// Answers requests until the client goes or [`Self::drain`] is called, and the
    /// first one also after that: nobody is let in and then left without an answer.
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
                // Finishes the answer that is under way, and takes no other request.
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
