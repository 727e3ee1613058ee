//! Files by URL: fetched once, verified, and nothing is published if one is not what it should be.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use sha2::Digest;
use sha2::Sha256;

use super::Fleet;
use super::state;
use crate::common::TestServer;
use crate::common::kernel;

/// A server of one answer; returns its address and the number of requests.
pub(crate) fn serve(
    answer: impl Fn(&str) -> Vec<u8> + Send + 'static,
) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            count.fetch_add(1, Ordering::SeqCst);
            let path = first.split(' ').nth(1).unwrap();
            let _ = stream.write_all(&answer(path));
        }
    });
    (address, asked)
}

pub(crate) fn ok(body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[test]
fn large_files_come_by_url_once_and_verified() {
    let (url, asked) = serve(|path| {
        match path {
        "/vmlinuz" => ok(&kernel()),
        "/short" => ok(&kernel())[..300].to_vec(),
        "/page" => ok(b"<html>sign in</html>"),
        "/elsewhere" => {
            b"HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 0\r\nLocation: http://192.0.2.1/x\r\n\r\n".to_vec()
        }
        "/huge" => b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec(),
    }
    });
    let names = ["lab-1", "lab-2"];
    let state = state(&names);
    let fleet = Fleet::new(&names);
    std::fs::remove_file(fleet.path("profiles/debian/vmlinuz")).unwrap();
    let named = |path: &str, digest: &str| {
        let text = format!(
            "[defaults.variables]\nconsole = \"a\"\n[profiles.debian.files]\n\
             vmlinuz = {{ url = \"{url}{path}\", sha256 = \"{digest}\" }}\n"
        );
        fleet.write("fleet.toml", &text);
    };
    let right = sha256(&kernel());
    for (path, digest, why) in [
        ("/page", &right, "the folder demands"),
        ("/page", &sha256(b"<html>sign in</html>"), "FG047"),
        ("/missing", &right, "the server answered 404"),
        ("/short", &right, "cannot fetch"),
        ("/elsewhere", &right, "without TLS"),
        ("/huge", &right, "is the limit"),
    ] {
        named(path, digest);
        let error = state.fails(&["apply", fleet.str()]);
        assert!(error.contains(why), "{path}: {error}");
        let generations = state.json(&["generations", "lab-1"]);
        assert_eq!(generations["generations"].as_array().unwrap().len(), 0, "{path}");
    }
    named("/vmlinuz", &right);
    let before = asked.load(Ordering::SeqCst);
    // A plan and a check ask nobody.
    assert!(state.ok(&["plan", fleet.str()]).contains("+ vmlinuz  "));
    state.ok(&["check", fleet.str()]);
    assert_eq!(asked.load(Ordering::SeqCst), before);
    state.ok(&["apply", fleet.str()]);
    assert_eq!(asked.load(Ordering::SeqCst), before + 1, "one request for two gateways");
    assert!(state.ok(&["plan", fleet.str()]).contains("nothing changes"));
    let server = TestServer::start(&state);
    assert_eq!(server.get_as(&state, "lab-2", "/g/1/vmlinuz").body, kernel());
    fleet.write("profiles/debian/more", "x");
    state.ok(&["apply", fleet.str()]);
    assert_eq!(asked.load(Ordering::SeqCst), before + 1, "it is in the store");
}
