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
use anyhow::bail;
use rustix::fs::Mode;
use socket2::Domain;
use socket2::SockAddr;
use socket2::SockRef;
use socket2::Socket;
use socket2::TcpKeepalive;
use socket2::Type;
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

/// Connections that may wait to be accepted: a whole fleet after a power cut.
const BACKLOG: i32 = 1024;

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
    bind().with_context(|| format!("cannot listen on {address}"))
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
        Ok(_) => bail!("another server is listening there"),
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
    mut probes: mpsc::Receiver<DuplexStream>,
) {
    loop {
        let accepted = tokio::select! {
            Some(probe) = probes.recv() => {
                connections.open(probe, Peer::Watchdog);
                continue;
            }
            accepted = door.listener.accept() => accepted,
        };
        match (door.role, accepted) {
            (_, Err(error)) => pause(&error).await,
            (Role::Tls, Ok(Stream::Tcp(stream, address))) => {
                let handshake = serve_tls(stream, address, app.clone(), connections.clone());
                connections.spawn(handshake);
            }
            // `Doors` lets no such socket in; without TLS nobody is let in here.
            (Role::Tls, Ok(Stream::Unix(_))) | (Role::Http, Ok(Stream::Tcp(..))) => {}
            (Role::Http, Ok(Stream::Unix(stream))) => connections.open(stream, Peer::Nginx),
            (Role::Admin, Ok(Stream::Tcp(stream, _))) => connections.open(stream, Peer::Admin),
            (Role::Admin, Ok(Stream::Unix(stream))) => connections.open(stream, Peer::Admin),
        }
    }
}

async fn serve_tls(
    stream: TcpStream,
    address: SocketAddr,
    app: Arc<App>,
    connections: Connections,
) {
    if let Err(error) = watch_for_death(&stream) {
        tracing::debug!(%address, "cannot set socket options: {error}");
    }
    let Some(config) = app.settings().tls.clone() else { return };
    let handshake = tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream));
    let done = tokio::select! {
        done = handshake => done,
        () = connections.too_late() => return,
    };
    let stream = match done {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            app.metrics.refused("handshake");
            tracing::warn!(address = %address.ip(), "TLS handshake failed: {error}");
            return;
        }
        Err(_) => {
            tracing::warn!(address = %address.ip(), "TLS handshake took too long");
            return;
        }
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let certificate = certificates.and_then(|chain| chain.first()).map(|der| der.to_vec());
    connections.serve(stream, Peer::Tls { certificate, address }).await;
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
