use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use rustix::fs::Mode;
use rustls::ServerConfig;
use socket2::Domain;
use socket2::SockAddr;
use socket2::Socket;
use socket2::TcpKeepalive;
use socket2::Type;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UnixListener;
use tokio_rustls::TlsAcceptor;

use super::connection::Connections;
use super::peer::Peer;

/// Connections that may wait to be accepted: a whole fleet after a power cut.
const BACKLOG: i32 = 1024;

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

/// Accepts connections of gateways. Handshakes run side by side: a slow one
/// keeps nobody waiting.
pub(super) async fn serve_tls(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    connections: Connections,
) {
    let acceptor = TlsAcceptor::from(config);
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                pause(&error).await;
                continue;
            }
        };
        let acceptor = acceptor.clone();
        let connections = connections.clone();
        tokio::spawn(async move {
            if let Err(error) = watch_for_death(&stream) {
                tracing::debug!(%address, "cannot set socket options: {error}");
            }
            let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
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
        });
    }
}

/// Accepts connections of nginx.
pub(super) async fn serve_unix(listener: UnixListener, connections: Connections) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let connections = connections.clone();
                tokio::spawn(async move { connections.serve(stream, Peer::Nginx).await });
            }
            Err(error) => pause(&error).await,
        }
    }
}

async fn pause(error: &io::Error) {
    tracing::error!("cannot accept a connection: {error}");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// A gateway that lost its power in the middle of a download never says so.
fn watch_for_death(stream: &TcpStream) -> io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(DEAD_PEER))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(DEAD_PEER))
}
