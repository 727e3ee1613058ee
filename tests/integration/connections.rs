//! Connections that say nothing, or come in numbers, must not keep gateways and operators out.

use std::fs;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use socket2::Domain;
use socket2::Socket;
use socket2::Type;

use crate::common::BIN;
use crate::common::PATIENCE;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::free_port;
use crate::common::receive;

fn state(listen: &str) -> TestState {
    let state = TestState::quick();
    state.publish("lab-1", 10);
    state
        .set_listen(&format!("admin = \"{}\"\n{listen}", state.dir().join("admin.sock").display()));
    state
}

/// Connects as a stranger with another address than the gateways of these tests.
fn stranger(server: &TestServer) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], server.tls_port)).into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Waits until the server closes it.
#[track_caller]
fn assert_closed(mut stream: impl Read) {
    match stream.read(&mut [0]) {
        Ok(0) => {}
        // So rustls says that it ended in the middle.
        Err(error)
            if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) => {}
        other => panic!("it stays open: {other:?}"),
    }
}

fn assert_open(stream: &TcpStream) {
    stream.set_nonblocking(true).unwrap();
    let read = stream.peek(&mut [0]);
    assert_eq!(read.unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// One address used to get as many connections as there were descriptors.
#[test]
fn an_address_has_its_share_of_connections_and_no_more() {
    let state = state("connections-per-address = 5");
    let server = TestServer::start(&state);
    let mut share: Vec<_> = (0..5).map(|_| stranger(&server)).collect();
    for _ in 0..3 {
        assert_closed(stranger(&server));
    }
    share.iter().for_each(assert_open);
    assert_eq!(server.get(&state, "/boot/ipxe").status, 302);
    let metrics = state.admin("/metrics").text();
    assert!(metrics.contains("farmgate_refusals_total{reason=\"too-many\"} 3\n"), "{metrics}");
    // Who leaves makes room, as soon as the server has seen it.
    share.clear();
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let stream = stranger(&server);
        let _ = (&stream).write_all(b"GET / HTTP/1.1\r\n\r\n");
        // No TLS: it is told so, where it is let in.
        if matches!((&stream).read(&mut [0]), Ok(1)) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "its share stays used up");
    }
}

/// 700 silent connections used to take all descriptors of a server that may have 512, until each
/// was given up after a minute: nobody booted, and `/healthz` was silent.
#[test]
fn silent_connections_leave_room_for_boots_and_operators() {
    let state = state("");
    let unix = state.dir().join("http.sock");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 512; exec \"$0\" \"$@\"", BIN, "--state"]).arg(state.dir());
    command.args(["serve", "--tls", "127.0.0.1:0", "--unix"]).arg(&unix);
    let mut server = TestServer::spawn(command, unix);
    let line = server.wait_for_log("listening: mutual TLS");
    server.tls_port = line.rsplit_once(':').unwrap().1.trim().parse().unwrap();
    server.wait_for_log("listening: Unix socket");

    let silent: Vec<_> = (0..700).map(|_| stranger(&server)).collect();
    assert_eq!(server.get(&state, "/boot/ipxe").status, 302);
    assert_eq!(state.admin("/healthz").status, 200);
    assert_eq!(state.admin("/metrics").status, 200);
    // Who has been silent for longest gave way.
    assert_closed(silent.into_iter().next().unwrap());
}

/// Whoever said nothing used to be kept for 60 s, and for 90 s more after a handshake that
/// anybody can have.
#[test]
fn strangers_who_say_nothing_are_not_kept_for_long() {
    let state = state("");
    let server = TestServer::start(&state);
    let silent = stranger(&server);
    let mut without_certificate = server.tls(&state, None);
    without_certificate.conn.complete_io(&mut without_certificate.sock).unwrap();
    // Three times as long as they have, and half of what they had.
    let limit = Some(Duration::from_secs(45));
    without_certificate.sock.set_read_timeout(limit).unwrap();
    silent.set_read_timeout(limit).unwrap();
    assert_closed(without_certificate);
    assert_closed(silent);
    // What they ask before, they are answered.
    let asking = server.tls(&state, None);
    assert_eq!(crate::common::request(asking, "GET", "/boot/ipxe", "").unwrap().status, 403);
}

/// The soft limit is 1024 on most systems, whatever is allowed.
#[test]
fn descriptors_are_raised_to_what_is_allowed() {
    let state = state("");
    let unix = state.dir().join("http.sock");
    let mut command = Command::new("sh");
    let script = "ulimit -Sn 300; ulimit -Hn 700; exec \"$0\" \"$@\"";
    command.args(["-c", script, BIN, "--state"]).arg(state.dir());
    command.args(["serve", "--unix"]).arg(&unix);
    let server = TestServer::spawn(command, unix);
    server.wait_for_log("listening: Unix socket");
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<_> = line.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers, ["700", "700"]);
}

/// All of them used to stay, and each could have a thread.
#[test]
fn operators_connections_are_few_and_the_latest_one_counts() {
    let state = state("");
    let server = TestServer::start(&state);
    let connect = || UnixStream::connect(state.dir().join("admin.sock")).unwrap();
    let silent: Vec<_> = (0..100).map(|_| connect()).collect();
    assert_eq!(state.admin("/healthz").status, 200);
    assert_eq!(server.get(&state, "/boot/ipxe").status, 302);
    let first = silent.into_iter().next().unwrap();
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_closed(first);
}

/// A web page in a browser on the boot host could read it, by a name that it had resolve to the
/// loopback.
#[test]
fn the_admin_listener_answers_only_to_names_of_the_loopback() {
    let state = state("");
    let port = free_port();
    state.set_listen(&format!("admin = \"127.0.0.1:{port}\""));
    let _server = TestServer::start(&state);
    let ask = |line: &str, hosts: &[&str]| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let hosts: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        write!(stream, "{line} HTTP/1.1\r\nConnection: close\r\n{hosts}\r\n").unwrap();
        receive(stream).unwrap().status
    };
    for host in ["localhost", "localhost:9180", "127.0.0.1", "[::1]:9180"] {
        assert_eq!(ask("GET /readyz", &[host]), 200, "{host}");
    }
    for path in ["/", "/healthz", "/readyz", "/metrics"] {
        assert_eq!(ask(&format!("GET {path}"), &["rebound.example:9180"]), 421, "{path}");
    }
    for hosts in [&["192.0.2.1"][..], &["localhost", "rebound.example"], &[]] {
        assert_eq!(ask("GET /healthz", hosts), 421, "{hosts:?}");
    }
    assert_eq!(ask("GET http://rebound.example/healthz", &["localhost"]), 421);
}

/// `Address already in use` alone sent people looking.
#[test]
fn a_port_or_socket_in_use_names_who_has_it() {
    let state = state("");
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let me = format!("process {}", std::process::id());
    let line = state.fails(&["--quiet", "serve", "--tls", &address]);
    assert!(line.contains(&address) && line.contains(&me), "{line}");

    let path = state.dir().join("other.sock");
    let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let line = state.fails(&["--quiet", "serve", "--unix", path.to_str().unwrap()]);
    assert!(line.contains("other.sock") && line.contains(&me), "{line}");
}

/// A path of 60 kB used to be in the log, and in the gateway's journal, as it was. Now what nginx
/// takes is the limit of own TLS, too.
#[test]
fn long_requests_leave_short_lines() {
    let state = state("");
    let server = TestServer::start(&state);
    for path in [format!("/{}", "a".repeat(50_000)), format!("/g/1/{}", "a".repeat(9_000))] {
        assert_eq!(server.get(&state, &path).status, 431);
    }
    let long = "a".repeat(7_000);
    for path in [format!("/{long}"), format!("/g/{long}/x"), format!("/g/1/{long}")] {
        assert_eq!(server.get(&state, &path).status, 404);
        let line = server.wait_for_log("aaaaaaaa...");
        assert!(line.len() < 1000, "{} bytes", line.len());
    }
    let range = format!("Range: bytes={long}\r\n");
    assert_eq!(server.get_with(&state, "/g/1/vmlinuz", &range).status, 200);
    let line = server.wait_for_log("path=\"vmlinuz\"");
    assert!(line.contains("aaaaaaaa…") && line.len() < 1000, "{} bytes", line.len());
    // What is short is there in full.
    assert_eq!(server.get(&state, "/g/1/nothing").status, 404);
    server.wait_for_log("has no file \"nothing\"");
    let journal = files_named(&state.dir().join("store/gateways"), "journal.jsonl");
    let text = fs::read_to_string(&journal[0]).unwrap();
    assert!(text.lines().all(|line| line.len() < 1000), "{text}");
}

fn files_named(dir: &Path, name: &str) -> Vec<std::path::PathBuf> {
    let homes = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path().join(name));
    homes.filter(|path| path.exists()).collect()
}

/// A boot script holds tokens and keys: a cache on the way must not keep it.
#[test]
fn what_is_for_one_boot_is_kept_by_no_cache() {
    let state = state("");
    let server = TestServer::start(&state);
    let script = server.get(&state, "/g/1/boot.ipxe");
    let text = script.text();
    for reply in [server.get(&state, "/boot/ipxe"), script, server.get(&state, "/g/9/boot.ipxe")] {
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply:?}");
    }
    assert!(text.contains("set generation 1"), "{text}");
    // A file of a generation is the same for ever.
    assert_eq!(server.get(&state, "/g/1/vmlinuz").header("cache-control"), None);
}
