use std::io::Read;
use std::io::Write;
use std::net::TcpStream;

use crate::common::TestServer;
use crate::common::TestState;

#[test]
fn a_running_download_finishes_and_nobody_new_is_let_in() {
    let state = TestState::with_gateway();
    let kernel = state.publish("lab-1", 64 * 1024 * 1024);
    let mut server = TestServer::start(&state);
    let mut stream = server.tls(&state, Some(state.credentials("lab-1")));
    let mut idle = server.tls(&state, Some(state.credentials("lab-1")));
    idle.conn.complete_io(&mut idle.sock).unwrap();
    stream.write_all(b"GET /g/1/vmlinuz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut received = vec![0; 64 * 1024];
    stream.read_exact(&mut received).unwrap();

    server.terminate();
    server.wait_for_log("running downloads may finish");
    assert!(TcpStream::connect(("127.0.0.1", server.tls_port)).is_err());
    // An idle connection is closed and holds nothing up.
    assert_eq!(idle.read(&mut [0]).unwrap_or(0), 0);

    // The server closes once all is sent.
    let _ = stream.read_to_end(&mut received);
    assert!(received.ends_with(&kernel[1024..]), "only {} bytes came", received.len());
    assert!(server.wait().success());
    assert!(!server.unix.exists());
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
