//! Accepts connections and serves each in a task of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use socket2::TcpKeepalive;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::DuplexStream;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::congestion::Congestion;
use super::congestion::Watched;
use super::connection::Connections;
use super::doors::Door;
use super::doors::Role;
use super::peer::Peer;
use super::room::Neighbour;
use super::room::Place;
use super::room::Room;
use super::room::Seat;
use super::seldom::Seldom;
use super::socket::Stream;
use crate::server::app::App;
use crate::server::app::Presented;
use crate::server::app::Via;

/// Time limit for the first byte of a connection. A client sends it at once; this leaves time for a
/// retransmission.
const FIRST_BYTE: Duration = Duration::from_secs(15);

/// Time limit for a TLS handshake: two round trips and an RSA signature on a slow machine.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// A peer silent for this long has lost its power or its line.
const DEAD_PEER: Duration = Duration::from_secs(60);

/// Pause after a failed accept, for example when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections, and now and then a probe of the watchdog, forever. Each is served in a task
/// of its own, so that a slow TLS handshake delays nobody else.
pub(in crate::server) async fn serve(
    door: Door,
    connections: Connections,
    app: Arc<App>,
    room: Room,
    mut probes: mpsc::Receiver<DuplexStream>,
) {
    let seldom = Arc::new(Seldom::new());
    let accept = async || (room.place().await, door.listener.accept().await);
    loop {
        let (place, accepted) = tokio::select! {
            Some(probe) = probes.recv() => {
                connections.open(probe, Peer::Watchdog, ());
                continue;
            }
            accepted = accept() => accepted,
        };
        match (door.role, accepted) {
            (_, Err(error)) => pause(&error).await,
            (Role::Tls, Ok(Stream::Tcp(stream, address))) => {
                let most = app.settings().listen.connections_per_address;
                let Some(neighbour) = room.neighbour(address.ip(), most) else {
                    app.counters.refused(TOO_MANY);
                    let address = address.ip();
                    seldom.log(|| tracing::warn!(%address, "refused: {most} connections are open"));
                    continue;
                };
                let newcomer = Newcomer { place, neighbour, seat: room.seat() };
                let (app, connections) = (app.clone(), connections.clone());
                let (task, seldom) = (connections.clone(), seldom.clone());
                task.spawn(async move {
                    if let Err(error) =
                        serve_tls(stream, address, newcomer, &app, connections).await
                    {
                        app.counters.refused(error.reason());
                        let address = address.ip();
                        seldom.log(|| tracing::warn!(%address, "{error}"));
                    }
                });
            }
            // `Doors` accepts no such socket; without TLS nobody is let in here.
            (Role::Tls, Ok(Stream::Unix(_))) | (Role::Http, Ok(Stream::Tcp(..))) => {}
            (Role::Http, Ok(Stream::Unix(stream))) => connections.open(stream, Peer::Nginx, place),
            (Role::Admin, Ok(Stream::Tcp(stream, _))) => {
                open_admin(&connections, stream, Peer::Admin { unix: false }, room.seat());
            }
            (Role::Admin, Ok(Stream::Unix(stream))) => {
                open_admin(&connections, stream, Peer::Admin { unix: true }, room.seat());
            }
        }
    }
}

/// Labels for monitoring of why connections are refused: every [`Failed::reason`], and
/// [`TOO_MANY`].
pub(in crate::server) const REASONS: [&str; 3] = ["handshake", "silent", TOO_MANY];

/// One address has too many connections.
const TOO_MANY: &str = "too-many";

/// Per-connection state while the client is unknown.
struct Newcomer {
    place: Place,
    neighbour: Neighbour,
    seat: Seat,
}

/// The reason for a connection to fail.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("TLS handshake failed: {0}")]
    Handshake(#[from] io::Error),
    #[error("TLS handshake took too long")]
    Slow,
    #[error("the client sent nothing")]
    Silent,
}

impl Failed {
    /// A one-word label for monitoring.
    fn reason(&self) -> &'static str {
        match self {
            Self::Handshake(_) | Self::Slow => "handshake",
            Self::Silent => "silent",
        }
    }
}

/// Serves an operator until a later one needs the seat.
fn open_admin(
    connections: &Connections,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    seat: Seat,
) {
    let here = connections.clone();
    connections.spawn(async move {
        tokio::select! {
            () = here.serve(stream, peer, Congestion::default()) => {}
            () = seat.lost() => {}
        }
    });
}

async fn serve_tls(
    stream: TcpStream,
    address: SocketAddr,
    newcomer: Newcomer,
    app: &App,
    connections: Connections,
) -> Result<(), Failed> {
    let Newcomer { place, neighbour, seat } = newcomer;
    if let Err(error) = watch_for_death(&stream) {
        tracing::debug!(%address, "cannot set socket options: {error}");
    }
    let Some(config) = app.settings().tls.clone() else { return Ok(()) };
    let handshake = async {
        let first = tokio::time::timeout(FIRST_BYTE, stream.peek(&mut [0])).await;
        first.map_err(|_| Failed::Silent)??;
        let handshake = TlsAcceptor::from(config).accept(stream);
        Ok(tokio::time::timeout(HANDSHAKE, handshake).await.map_err(|_| Failed::Slow)??)
    };
    // Boxed, so that its memory is freed once the handshake is done.
    let done: Result<_, Failed> = tokio::select! {
        done = Box::pin(handshake) => done,
        () = seat.lost() => Err(Failed::Silent),
        () = connections.too_late() => return Ok(()),
    };
    let stream = done?;
    // The client is known now: its seat is free for others.
    drop(seat);
    let certificates = stream.get_ref().1.peer_certificates();
    let certificate = certificates.and_then(|chain| chain.first());
    let certificate = certificate.map(|der| Presented::new(der, Via::OwnTls));
    let stream = Watched::new(stream);
    let congestion = stream.congestion();
    let peer = Peer::Tls { certificate, address };
    Box::pin(connections.serve(stream, peer, congestion)).await;
    drop((place, neighbour));
    Ok(())
}

async fn pause(error: &io::Error) {
    tracing::error!("cannot accept a connection: {error}");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// A gateway that loses its power during a download never closes the connection.
fn watch_for_death(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(DEAD_PEER))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(DEAD_PEER))
}
