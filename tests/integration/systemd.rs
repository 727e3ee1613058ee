//! What systemd hands over, and what it is told.

use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::common::BIN;
use crate::common::PATIENCE;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::free_port;
use crate::common::nginx_headers;
use crate::common::request;

/// Sockets that `systemd-socket-activate` opens, in the order of their names.
fn activated(state: &TestState, sockets: &[&str], names: &str) -> TestServer {
    let mut command = Command::new("systemd-socket-activate");
    for socket in sockets {
        command.args(["--listen", socket]);
    }
    command.arg(format!("--fdname={names}")).arg(BIN).arg("--state").arg(state.dir()).arg("serve");
    let server = TestServer::spawn(command, state.dir().join("http.sock"));
    for _ in sockets {
        server.wait_for_log("Listening on");
    }
    server
}

fn admin(port: u16, path: &str) -> (u16, String) {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let reply = request(stream, "GET", path, "").unwrap();
    (reply.status, reply.text())
}

/// The socket's file used to go when the server stopped, and with it whoever connected
/// before the next one had started.
#[test]
fn the_first_request_starts_it_and_the_socket_outlives_it() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 10);
    let socket = state.dir().join("http.sock");
    let port = free_port();
    let (unix, tcp) = (socket.to_str().unwrap(), format!("127.0.0.1:{port}"));
    // The configuration's own door, [listen] tls, stays shut: port 8443 is not bound.
    let mut server = activated(&state, &[unix, &tcp], "http:admin");
    let headers = nginx_headers(&state.credentials("lab-1").0);
    assert_eq!(server.get_unix("/boot/ipxe", &headers).status, 302);
    let line = server.wait_for_log("listening: Unix socket for nginx");
    assert!(line.contains(unix), "{line}");
    assert_eq!(admin(port, "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(admin(port, "/readyz"), (200, "ready\n".to_owned()));
    // Neither side has the other's routes.
    assert_eq!(admin(port, "/boot/ipxe").0, 404);
    assert_eq!(server.get_unix("/healthz", &headers).status, 404);

    server.terminate();
    assert!(server.wait().success());
    assert!(socket.exists(), "the server removed systemd's socket");
}

/// Lines that lose long packets unsaid (tunnels, PPPoE) let no boot through: iPXE asks for packets
/// of 1460 bytes, and got them. Behind nginx, a kernel parameter of the package helps.
#[test]
fn gateways_are_sent_packets_that_any_line_carries() {
    let own = TestState::with_gateway();
    let server = TestServer::start(&own);
    assert_short_packets(server.tls_port);
    let passed = TestState::with_gateway();
    let port = free_port();
    let server = activated(&passed, &[&format!("127.0.0.1:{port}")], "tls");
    // The connection that starts the server is older than it.
    drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
    server.wait_for_log("listening: mutual TLS");
    assert_short_packets(port);
}

#[track_caller]
fn assert_short_packets(port: u16) {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mss = socket2::SockRef::from(&stream).tcp_mss().unwrap();
    // The loopback itself would carry tens of thousands of bytes.
    assert!((1000..=1220).contains(&mss), "{mss}");
}

#[test]
fn a_gateway_comes_in_through_the_socket_named_tls() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 10);
    let port = free_port();
    let mut server = activated(&state, &[&format!("127.0.0.1:{port}")], "tls");
    server.tls_port = port;
    assert_eq!(server.get(&state, "/boot/ipxe").status, 302);
}

/// A socket of another kind than its name says would let in who should not.
#[test]
fn sockets_that_do_not_fit_their_names_are_refused() {
    let state = TestState::new();
    let (loopback, all) = (format!("127.0.0.1:{}", free_port()), format!("{}", free_port()));
    let unix = state.dir().join("http.sock");
    let unix = unix.to_str().unwrap();
    for (socket, name, says) in [
        (&*loopback, "http", "nginx alone can open"),
        (&*all, "admin", "never for one that gateways can reach"),
        (unix, "tls", "tls is for a TCP socket"),
        (unix, "web", "FileDescriptorName=http, tls or admin"),
        (&*loopback, "admin", "nowhere to listen"),
    ] {
        state.set_listen("");
        let mut server = activated(&state, &[socket], name);
        if socket == unix {
            drop(UnixStream::connect(unix).unwrap());
        } else {
            let port: u16 = socket.rsplit(':').next().unwrap().parse().unwrap();
            drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
        }
        server.wait_for_log(says);
        assert_eq!(server.wait().code(), Some(1));
        let _ = std::fs::remove_file(unix);
    }
}

/// Collects what the server tells systemd.
struct Told(UnixDatagram);

impl Told {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// The next message that holds this line.
    #[track_caller]
    fn wait_for(&self, line: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let size = self.0.recv(&mut buffer).unwrap_or_else(|_| panic!("never told {line}"));
            let text = String::from_utf8_lossy(&buffer[..size]).into_owned();
            if text.lines().any(|told| told.starts_with(line)) {
                return text;
            }
        }
    }
}

#[test]
fn systemd_hears_of_ready_reloading_and_stopping() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 10);
    let path = state.dir().join("notify");
    let told = Told::at(&path);
    let mut server = TestServer::start_in(&state, &[], &[("NOTIFY_SOCKET", &path)]);
    assert!(told.wait_for("READY=1").contains("STATUS=1 gateway, 0 booting"));
    server.get(&state, "/boot/ipxe");
    server.signal(Signal::HUP);
    assert!(told.wait_for("RELOADING=1").contains("MONOTONIC_USEC="));
    assert!(told.wait_for("READY=1").contains("STATUS=1 gateway, 1 booting"));
    server.terminate();
    told.wait_for("STOPPING=1");
    assert!(server.wait().success());
}

#[test]
fn the_watchdog_is_fed_as_long_as_every_door_answers() {
    let state = TestState::new();
    state.set_listen("admin = \"127.0.0.1:0\"");
    let path = state.dir().join("notify");
    let told = Told::at(&path);
    let environment = [("NOTIFY_SOCKET", &*path), ("WATCHDOG_USEC", Path::new("300000"))];
    let _server = TestServer::start_in(&state, &[], &environment);
    for _ in 0..3 {
        told.wait_for("WATCHDOG=1");
    }
}
