use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;
use rustix::fs::Mode;
use socket2::Domain;
use socket2::SockAddr;
use socket2::SockRef;
use socket2::Socket;
use socket2::TcpKeepalive;
use socket2::Type;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::app::App;
use super::connection::Connections;
use super::doors::Door;
use super::doors::Role;
use super::peer::Peer;
use super::room::Neighbour;
use super::room::Place;
use super::room::Room;
use super::room::Seat;
use super::seldom::Seldom;
use crate::process;
use crate::process::Holder;
use crate::store::owner::as_caller;

/// Connections that may wait to be accepted: a whole fleet after a power cut.
const BACKLOG: i32 = 1024;

/// Time for the first byte of a connection. A client sends it at once; it may get lost, and then
/// again.
const FIRST_BYTE: Duration = Duration::from_secs(15);
/// What fits into the smallest packet that IPv6 knows (RFC 8200, section 5: 1280 bytes), less the
/// headers. Some lines lose longer ones unsaid (tunnels, PPPoE), and iPXE asks for 1460.
const MSS: u32 = 1220;

/// Time for a TLS handshake: two round trips and an RSA signature of a slow machine.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// A peer that has not answered for so long has lost its power or its line.
const DEAD_PEER: Duration = Duration::from_secs(60);

/// Waits when no connection can be accepted, for want of file descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) fn bind_tcp(address: SocketAddr) -> Result<TcpListener> {
    let bind = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket.into())
    };
    bind().map_err(|error| {
        let holder = match error.kind() {
            io::ErrorKind::AddrInUse => as_caller(|| process::of_port(address)),
            _ => None,
        };
        let by = holder.map_or_else(String::new, |holder| format!(", by {holder}"));
        anyhow!("cannot listen on {address}: {error}{by}")
    })
}

/// Has connections of this listening socket offer and use packets that get through any line.
pub(super) fn use_short_packets(listener: &impl AsFd) -> io::Result<()> {
    SockRef::from(listener).set_tcp_mss(MSS)
}

/// Listens on a Unix socket that its owner and `group` can open, and nobody else.
pub(super) fn bind_unix(path: &Path, group: Option<&str>) -> Result<UnixListener> {
    let cannot = || format!("cannot listen on {}", path.display());
    remove_stale(path).with_context(cannot)?;
    let bind = || -> io::Result<UnixListener> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // Linux makes the socket's file with the mode of the socket, less the
        // umask: there is no moment at which others could open it.
        rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o660))?;
        socket.bind(&SockAddr::unix(path)?)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o660))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        UnixListener::from_std(socket.into())
    };
    let listener = bind().with_context(cannot)?;
    if let Some(name) = group {
        let group = nix::unistd::Group::from_name(name)
            .with_context(cannot)?
            .with_context(|| format!("{}: there is no group {name:?}", cannot()))?;
        std::os::unix::fs::chown(path, None, Some(group.gid.as_raw()))
            .with_context(|| format!("cannot give {} to group {name}", path.display()))?;
    }
    Ok(listener)
}

/// Removes the socket of a server that is gone, and nothing else.
fn remove_stale(path: &Path) -> Result<()> {
    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?,
    };
    if !metadata.file_type().is_socket() {
        bail!("something that is not a socket is there already");
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Ok(std::fs::remove_file(path)?)
        }
        Err(error) => Err(error.into()),
        Ok(stream) => {
            let pid = stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream));
            let pid = pid.and_then(|stream| stream.peer_cred()).ok().and_then(|peer| peer.pid());
            let holder = pid.and_then(|pid| Holder::read(pid.try_into().ok()?));
            let by = holder.map_or_else(String::new, |holder| format!(": {holder}"));
            bail!("another server is listening there{by}")
        }
    }
}

/// A socket that is listened on.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

enum Stream {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Listener {
    /// Its address or path.
    pub(super) fn name(&self) -> String {
        let name = match self {
            Self::Tcp(listener) => listener.local_addr().map(|address| address.to_string()),
            Self::Unix(listener) => listener.local_addr().map(|address| {
                let path = address.as_pathname().unwrap_or(Path::new("(no path)"));
                path.display().to_string()
            }),
        };
        name.unwrap_or_else(|error| format!("(unknown: {error})"))
    }

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok(Stream::Tcp(stream, address))
            }
            Self::Unix(listener) => Ok(Stream::Unix(listener.accept().await?.0)),
        }
    }
}

/// Accepts connections, and now and then one of the watchdog, for ever. Each is
/// served by a task of its own: a slow TLS handshake keeps nobody waiting.
pub(super) async fn serve(
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
                    app.metrics.refused(TOO_MANY);
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
                        app.metrics.refused(error.reason());
                        let address = address.ip();
                        seldom.log(|| tracing::warn!(%address, "{error}"));
                    }
                });
            }
            // `Doors` lets no such socket in; without TLS nobody is let in here.
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

/// For metrics: too many connections of one address.
pub(super) const TOO_MANY: &str = "too-many";

/// What a connection has as long as nobody knows who it is.
struct Newcomer {
    place: Place,
    neighbour: Neighbour,
    seat: Seat,
}

/// Why a connection came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("TLS handshake failed: {0}")]
    Handshake(#[from] io::Error),
    #[error("TLS handshake took too long")]
    Slow,
    #[error("nothing was said")]
    Silent,
}

impl Failed {
    /// Every [`Self::reason`].
    pub(super) const REASONS: [&str; 2] = ["handshake", "silent"];

    /// In a word, for monitoring.
    fn reason(&self) -> &'static str {
        match self {
            Self::Handshake(_) | Self::Slow => "handshake",
            Self::Silent => "silent",
        }
    }
}

/// Serves an operator, until somebody who comes later needs the seat.
fn open_admin(
    connections: &Connections,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    seat: Seat,
) {
    let here = connections.clone();
    connections.spawn(async move {
        tokio::select! {
            () = here.serve(stream, peer) => {}
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
    let done: Result<_, Failed> = tokio::select! {
        done = handshake => done,
        () = seat.lost() => Err(Failed::Silent),
        () = connections.too_late() => return Ok(()),
    };
    let stream = done?;
    // Others may come.
    drop(seat);
    let certificates = stream.get_ref().1.peer_certificates();
    let certificate = certificates.and_then(|chain| chain.first()).map(|der| der.to_vec());
    connections.serve(stream, Peer::Tls { certificate, address }).await;
    drop((place, neighbour));
    Ok(())
}

async fn pause(error: &io::Error) {
    tracing::error!("cannot accept a connection: {error}");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// A gateway that lost its power in the middle of a download never says so.
fn watch_for_death(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(DEAD_PEER))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(DEAD_PEER))
}
