//! The server's listeners: sockets that systemd passed, else those that the configuration names.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use socket2::Domain;
use socket2::Socket;
use socket2::Type;
use tokio::net::TcpListener;
use tokio::net::UnixListener;

use super::socket;
use super::socket::Listener;
use crate::config::AdminAddress;
use crate::config::Listen;

/// Purpose of a listener. The names are those of systemd's sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Role {
    /// Gateways, by own mutual TLS: `tls`.
    Tls,
    /// nginx: `http`.
    Http,
    /// Operators and their monitoring: `admin`.
    Admin,
}

/// An open listener.
pub(in crate::server) struct Door {
    pub(in crate::server) role: Role,
    pub(super) listener: Listener,
}

impl Door {
    /// The same, registered with the runtime that this is called in.
    pub(in crate::server) fn registered_here(self) -> Result<Self> {
        let listener = match self.listener {
            Listener::Tcp(listener) => Listener::Tcp(TcpListener::from_std(listener.into_std()?)?),
            Listener::Unix(listener) => {
                Listener::Unix(UnixListener::from_std(listener.into_std()?)?)
            }
        };
        Ok(Self { listener, ..self })
    }
}

/// All open listeners. Dropping them removes the socket files that were made here.
pub(in crate::server) struct Doors {
    pub(in crate::server) doors: Vec<Door>,
    ours: Vec<PathBuf>,
}

impl Drop for Doors {
    fn drop(&mut self) {
        for path in &self.ours {
            // A failure leaves a stale file, which the next start replaces.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Doors {
    /// Opens every listener. `passed` are systemd's sockets: one for gateways replaces `tls` and
    /// `unix` of the configuration, and one for operators replaces `admin`.
    pub(in crate::server) fn open(listen: &Listen, passed: Vec<(String, OwnedFd)>) -> Result<Self> {
        let mut doors = Self { doors: Vec::new(), ours: Vec::new() };
        for (name, descriptor) in passed {
            let door = take(&name, descriptor)
                .with_context(|| format!("cannot use systemd's socket {name:?}"))?;
            doors.doors.push(door);
        }
        if !doors.any(|role| role != Role::Admin) {
            if let Some(address) = listen.tls {
                doors.push(Role::Tls, Listener::Tcp(socket::bind_tcp(address)?));
            }
            if let Some(path) = &listen.unix {
                let listener = socket::bind_unix(path, listen.unix_group.as_deref())?;
                doors.ours.push(path.clone());
                doors.push(Role::Http, Listener::Unix(listener));
            }
        }
        ensure!(
            doors.any(|role| role != Role::Admin),
            "nowhere to listen: set tls (own TLS) or unix (behind nginx) in [listen], \
             give --tls or --unix, or enable farmgate.socket or farmgate-tls.socket"
        );
        if !doors.any(|role| role == Role::Admin) {
            match &listen.admin {
                None => {}
                Some(AdminAddress::Tcp(address)) => {
                    doors.push(Role::Admin, Listener::Tcp(socket::bind_tcp(*address)?));
                }
                Some(AdminAddress::Unix(path)) => {
                    let listener = socket::bind_unix(path, None)?;
                    doors.ours.push(path.clone());
                    doors.push(Role::Admin, Listener::Unix(listener));
                }
            }
        }
        for door in &doors.doors {
            if let (Role::Tls, Listener::Tcp(tcp)) = (door.role, &door.listener) {
                socket::use_short_packets(tcp)
                    .with_context(|| format!("cannot set the MSS of {}", door.listener.name()))?;
            }
            let (address, what) = (door.listener.name(), door.role.what());
            tracing::info!("listening: {what} on {address}");
        }
        Ok(doors)
    }

    /// Says whether this holds for any listener.
    pub(super) fn any(&self, test: impl Fn(Role) -> bool) -> bool {
        self.doors.iter().any(|door| test(door.role))
    }

    fn push(&mut self, role: Role, listener: Listener) {
        self.doors.push(Door { role, listener });
    }
}

impl Role {
    /// systemd's name for it.
    pub(in crate::server) fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Admin => "admin",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Tls => "mutual TLS",
            Self::Http => "Unix socket for nginx",
            Self::Admin => "admin",
        }
    }
}

/// Takes over one of systemd's sockets.
fn take(name: &str, descriptor: OwnedFd) -> Result<Door> {
    let socket = Socket::from(descriptor);
    let unix = socket.domain()? == Domain::UNIX;
    ensure!(
        socket.r#type()? == Type::STREAM && socket.is_listener()?,
        "it is not a listening stream socket: its unit needs ListenStream= and Accept=no"
    );
    let roles = [Role::Http, Role::Tls, Role::Admin];
    let role = roles.into_iter().find(|role| role.name() == name);
    let role = role.context("its unit needs FileDescriptorName=http, tls or admin")?;
    match role {
        // A client that can reach it can claim to be any gateway.
        Role::Http => ensure!(unix, "http is for a Unix socket, which nginx alone can open"),
        Role::Tls => ensure!(!unix, "tls is for a TCP socket"),
        Role::Admin => {
            let address = socket.local_addr()?.as_socket().map(|address| address.ip());
            ensure!(
                unix || address.is_some_and(|ip: IpAddr| ip.is_loopback()),
                "admin is for a Unix socket or an address of the loopback, \
                 never for one that gateways can reach"
            );
        }
    }
    socket.set_nonblocking(true)?;
    let listener = if unix {
        Listener::Unix(UnixListener::from_std(socket.into())?)
    } else {
        Listener::Tcp(TcpListener::from_std(socket.into())?)
    };
    Ok(Door { role, listener })
}
