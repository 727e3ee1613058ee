//! Listening sockets, opened here or passed by systemd. Creates and removes socket files.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;
use rustix::fs::Mode;
use socket2::Domain;
use socket2::SockAddr;
use socket2::SockRef;
use socket2::Socket;
use socket2::Type;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UnixListener;
use tokio::net::UnixStream;

use crate::process;
use crate::process::Holder;
use crate::store::owner::as_caller;

/// Length of the accept queue. It must hold a whole fleet after a power cut.
const BACKLOG: i32 = 1024;

/// The MSS that fits the smallest IPv6 packet (RFC 8200, section 5: 1280 bytes), less the headers.
/// Some paths drop larger packets without an ICMP message (tunnels, PPPoE), and iPXE asks for 1460.
const MSS: u32 = 1220;

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

/// Makes connections of this listening socket offer and use packets that pass every path.
pub(super) fn use_short_packets(listener: &impl AsFd) -> io::Result<()> {
    SockRef::from(listener).set_tcp_mss(MSS)
}

/// Listens on a Unix socket that only its owner and `group` can open.
pub(super) fn bind_unix(path: &Path, group: Option<&str>) -> Result<UnixListener> {
    let cannot = || format!("cannot listen on {}", path.display());
    remove_stale(path).with_context(cannot)?;
    let bind = || -> io::Result<UnixListener> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // Linux creates the socket's file with the mode of the socket, less the umask. So there is
        // no moment at which others could open it.
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

/// Removes the stale socket of a dead server, and nothing else.
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

/// A listening socket.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

pub(super) enum Stream {
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

    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok(Stream::Tcp(stream, address))
            }
            Self::Unix(listener) => Ok(Stream::Unix(listener.accept().await?.0)),
        }
    }
}
