//! The server itself, by its admin listener, and other programs in its place.

use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use http::Request;
use http_body_util::Full;
use tokio::net::TcpStream;
use tokio::net::UnixStream;

use super::finding::Findings;
use crate::config::AdminAddress;
use crate::config::Config;
use crate::foreign::Foreign;
use crate::http_client;
use crate::process;
use crate::store::owner::as_caller;

const CHECK: &str = "server";

/// Longest wait for an answer of this machine.
const LIMIT: Duration = Duration::from_secs(10);

/// `farmgate-admin.socket`.
const ADMIN: &str = "127.0.0.1:9180";

const MOST: usize = 1024 * 1024;

/// Checks the server, and returns its `/readyz`; empty if no server runs.
pub(super) async fn examine(config: &Config, findings: &mut Findings) -> String {
    match ask(config).await {
        Ok((200, text)) => {
            findings.ok(CHECK, "it runs, and says that gateways can boot");
            text
        }
        Ok((status, text)) => {
            for line in text.lines().map(Foreign::from) {
                let line = line.as_str();
                let (what, way_out) = line.split_once("; ").unwrap_or((line, "see its journal"));
                findings.error(CHECK, format!("it says ({status}): {what}"), way_out);
            }
            text
        }
        Err(error) => {
            let place = config.listen.admin.as_ref().map_or_else(|| ADMIN.to_owned(), shown);
            let door = if config.listen.tls.is_some() { "farmgate-tls" } else { "farmgate" };
            let way_out = format!(
                "`systemctl start {door}.socket farmgate-admin.socket`, or `farmgate serve`"
            );
            if error.kind() == io::ErrorKind::PermissionDenied {
                findings.unseen(CHECK, format!("{place} ([listen] admin): {error}"));
            } else if config.listen.admin.is_some() {
                let what = format!("nothing answers at {place} ([listen] admin): {error}");
                findings.error(CHECK, what, way_out);
            } else {
                let what = format!("there is no admin listener at {place}, so it cannot be asked");
                findings.skipped(CHECK, what);
            }
            doors(config, findings);
            String::new()
        }
    }
}

fn shown(address: &AdminAddress) -> String {
    match address {
        AdminAddress::Tcp(address) => address.to_string(),
        AdminAddress::Unix(path) => path.display().to_string(),
    }
}

async fn ask(config: &Config) -> io::Result<(u16, String)> {
    let request = Request::get("/readyz").header("Host", "localhost");
    let request = request.body(Full::default()).map_err(io::Error::other)?;
    let exchange = async {
        match &config.listen.admin {
            Some(AdminAddress::Unix(path)) => {
                http_client::exchange_over(connect(path)?, request, MOST).await
            }
            Some(AdminAddress::Tcp(address)) => {
                http_client::exchange_over(TcpStream::connect(address).await?, request, MOST).await
            }
            None => {
                http_client::exchange_over(TcpStream::connect(ADMIN).await?, request, MOST).await
            }
        }
    };
    let answer = tokio::time::timeout(LIMIT, exchange).await.map_err(io::Error::other)??;
    Ok((answer.status.as_u16(), String::from_utf8_lossy(&answer.body).into_owned()))
}

/// Root can open files that the state's owner cannot.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let stream = as_caller(|| std::os::unix::net::UnixStream::connect(path))?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Checks whether a server that is stopped, or cannot be asked, could open its sockets.
fn doors(config: &Config, findings: &mut Findings) {
    if let Some(address) = config.listen.tls {
        match bind(address) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => in_use(address, findings),
            Err(error) => findings.warning(
                CHECK,
                format!("cannot listen on {address} ([listen] tls): {error}"),
                "an address of this machine; ports below 1024 are for root, or for systemd's socket",
            ),
        }
    }
    if let Some(path) = &config.listen.unix {
        match as_caller(|| std::os::unix::net::UnixStream::connect(path)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                findings.unseen(CHECK, format!("only root and nginx can open {}", path.display()));
            }
            // The file remains when a socket is closed.
            Err(error) => findings.error(
                CHECK,
                format!("nothing listens for nginx at {}: {error}", path.display()),
                "`systemctl start farmgate.socket`, or `farmgate serve`",
            ),
        }
    }
}

fn in_use(address: SocketAddr, findings: &mut Findings) {
    // Only root sees the holder; the state's owner does not.
    match as_caller(|| process::of_port(address)) {
        // systemd holds the socket of a unit that is not started yet, or was stopped.
        Some(holder) if holder.is("systemd") => findings.warning(
            CHECK,
            format!("systemd holds {address} ([listen] tls) for farmgate, which does not answer"),
            "`systemctl status farmgate-tls.socket farmgate.service` says why",
        ),
        Some(holder) if holder.is("farmgate") => findings.warning(
            CHECK,
            format!("{holder} listens on {address} ([listen] tls), and does not say what it is"),
            "`systemctl start farmgate-admin.socket`, or set [listen] admin, so that it can be asked",
        ),
        Some(holder) => findings.error(
            CHECK,
            format!("{holder} listens on {address}, where farmgate is to ([listen] tls)"),
            "stop it, or give one of them another address; behind nginx, [listen] tls is left out",
        ),
        None => findings.warning(
            CHECK,
            format!("something listens on {address} ([listen] tls): farmgate, or another program"),
            format!("`sudo ss -ltnp sport = {}` names it", address.port()),
        ),
    }
}

fn bind(address: SocketAddr) -> io::Result<()> {
    TcpListener::bind(address).map(drop)
}
