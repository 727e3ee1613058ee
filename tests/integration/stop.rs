use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use crate::common::TestServer;
use crate::common::TestState;
use crate::common::nginx_headers;
use crate::common::request;

#[test]
fn a_running_download_finishes_and_nobody_new_is_let_in() {
    let state = TestState::with_gateway();
    let kernel = state.publish("lab-1", 64 * 1024 * 1024);
    let mut server = TestServer::start(&state);
    let mut stream = server.tls(&state, Some(state.credentials("lab-1")));
    let mut idle = server.tls(&state, Some(state.credentials("lab-1")));
    idle.write_all(b"HEAD /g/1/boot.ipxe HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        idle.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    stream.write_all(b"GET /g/1/vmlinuz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut received = vec![0; 64 * 1024];
    stream.read_exact(&mut received).unwrap();

    server.terminate();
    server.wait_for_log("running downloads may finish");
    assert!(TcpStream::connect(("127.0.0.1", server.tls_port)).is_err());
    // A connection that had its answer and is idle is closed and holds nothing up.
    assert_eq!(idle.read(&mut [0]).unwrap_or(0), 0);

    // The server closes once all is sent.
    let _ = stream.read_to_end(&mut received);
    assert!(received.ends_with(&kernel[1024..]), "only {} bytes came", received.len());
    assert!(server.wait().success());
    assert!(!server.unix.exists());
}

/// A new connection used to be closed without an answer when the server was told to stop before its
/// request had come, or cut off in its handshake.
#[test]
fn a_connection_that_was_let_in_gets_its_answer_from_a_server_that_stops() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 1024);
    let mut server = TestServer::start(&state);
    let lab_1 = || Some(state.credentials("lab-1"));
    let shaking_hands = server.tls(&state, lab_1());
    let mut let_in = server.tls(&state, lab_1());
    let_in.conn.complete_io(&mut let_in.sock).unwrap();
    let nginx = UnixStream::connect(&server.unix).unwrap();
    let headers = nginx_headers(&state.credentials("lab-1").0);
    // By the answer to a later connection, the server has the earlier ones too.
    assert_eq!(server.get(&state, "/g/1/boot.ipxe").status, 200);
    assert_eq!(server.get_unix("/g/1/boot.ipxe", &headers).status, 200);

    server.terminate();
    server.wait_for_log("running downloads may finish");
    assert_eq!(request(nginx, "GET", "/g/1/boot.ipxe", &headers).unwrap().status, 200);
    assert_eq!(request(let_in, "GET", "/g/1/boot.ipxe", "").unwrap().status, 200);
    assert_eq!(request(shaking_hands, "GET", "/g/1/boot.ipxe", "").unwrap().status, 200);
    assert!(server.wait().success());
}

/// Whoever connects and says nothing cannot hold up a restart for all of `drain`.
#[test]
fn connections_that_stay_silent_do_not_keep_a_server_from_stopping() {
    let state = TestState::with_gateway();
    state.set_listen("drain = \"1h\"");
    let mut server = TestServer::start(&state);
    let silent = TcpStream::connect(("127.0.0.1", server.tls_port)).unwrap();
    let mut let_in = server.tls(&state, None);
    let_in.conn.complete_io(&mut let_in.sock).unwrap();
    server.terminate();
    assert!(server.wait().success());
    drop(silent);
}

#[test]
fn the_time_for_downloads_is_bounded_and_a_second_signal_ends_it() {
    for (drain, signals) in [("1s", 1), ("1h", 2)] {
        let state = TestState::with_gateway();
        state.publish("lab-1", 64 * 1024 * 1024);
        state.set_listen(&format!("drain = \"{drain}\""));
        let mut server = TestServer::start(&state);
        let mut stream = server.tls(&state, Some(state.credentials("lab-1")));
        stream.write_all(b"GET /g/1/vmlinuz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        stream.read_exact(&mut [0; 1024]).unwrap();
        server.terminate();
        if signals == 2 {
            server.wait_for_log("running downloads may finish");
            server.terminate();
        }
        assert!(server.wait().success());
    }
}
