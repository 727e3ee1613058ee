//! `POST /update-cfg`, as forges send it.

use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;

use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use sha2::Sha256;

use crate::common::PATIENCE;
use crate::common::Reply;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::edit;
use crate::common::free_port;
use crate::common::receive;
use crate::common::write_private;
use crate::nginx_logs::Nginx;
use crate::nginx_logs::state_behind_nginx;

const SECRET: &str = "unmistakable-secret-of-a-forge";
const PUSH: &str = r#"{"ref": "refs/heads/main", "after": "1"}"#;

/// A server that brings in what `remote` has, and looks by itself once a day.
fn server(remote: &str, secret: Option<&str>) -> (TestState, TestServer) {
    let state = TestState::quick();
    let file = state.dir().join("webhook");
    let line = match secret {
        Some(secret) => {
            write_private(&file, secret);
            format!("webhook-secret = {file:?}\n")
        }
        None => String::new(),
    };
    edit(&state.dir().join("farmgate.toml"), |text| {
        format!(
            "{text}\n[sync]\nremote = \"{remote}\"\ninterval = \"1d\"\ntimeout = \"30s\"\n{line}"
        )
    });
    let server = TestServer::start(&state);
    (state, server)
}

/// Sends a request through own TLS, without a client certificate, as a forge does.
fn post(state: &TestState, server: &TestServer, headers: &str, body: &str) -> Reply {
    let mut stream = server.tls(state, None);
    let head = format!(
        "POST /update-cfg HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes());
    receive(stream).unwrap()
}

fn signature(secret: &str, body: &str) -> String {
    let mut code = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.as_bytes()).unwrap();
    code.update(body.as_bytes());
    let code = hex::encode(code.finalize().into_bytes());
    format!("X-GitHub-Event: push\r\nX-Hub-Signature-256: sha256={code}\r\n")
}

/// Waits until somebody asks at this address, and sends them away.
fn asked(listener: &TcpListener) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut buffer = [0; 1024];
    let _ = stream.read(&mut buffer);
    let _ = stream
        .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

#[test]
fn a_genuine_push_starts_a_look_and_nothing_else_does() {
    let remote = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/fleet.git", remote.local_addr().unwrap());
    let (state, server) = server(&address, Some(SECRET));
    // The look at the start.
    asked(&remote);
    server.wait_for_log("sync failed");
    remote.set_nonblocking(true).unwrap();

    let other = r#"{"ref": "refs/heads/other"}"#;
    for (headers, body, status) in [
        (String::new(), PUSH, 403),
        (signature("another secret of a forge", PUSH), PUSH, 403),
        (signature(SECRET, other), PUSH, 403),
        ("X-Gitlab-Token: unmistakable\r\n".to_owned(), PUSH, 403),
        (signature(SECRET, other), other, 200),
        (signature(SECRET, "{"), "{", 400),
        (
            format!(
                "{}X-GitHub-Event: ping\r\n",
                signature(SECRET, PUSH).split_once("\r\n").unwrap().1
            ),
            PUSH,
            200,
        ),
    ] {
        let reply = post(&state, &server, &headers, body);
        assert_eq!(reply.status, status, "{headers}{body}");
        assert!(!reply.text().contains("unmistakable"), "{}", reply.text());
        assert!(reply.text().lines().count() == 1, "{}", reply.text());
    }
    assert!(remote.accept().is_err(), "somebody looked");
    remote.set_nonblocking(false).unwrap();

    assert_eq!(post(&state, &server, &signature(SECRET, PUSH), PUSH).status, 202);
    asked(&remote);
    // GitLab's way, behind nginx: another listener, another push.
    let body = r#"{"ref": "refs/heads/main", "after": "2"}"#;
    let mut stream = UnixStream::connect(&server.unix).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST /update-cfg HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Gitlab-Event: Push Hook\r\n\
         X-Gitlab-Token: {SECRET}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(receive(stream).unwrap().status, 202);
    asked(&remote);
    let log = server.log_so_far();
    assert!(!log.contains("unmistakable"), "{log}");
}

/// With the configuration that `nginx-config` prints, on the gateways' name and on the public one.
#[test]
fn forges_are_heard_through_nginx() {
    let remote = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/fleet.git", remote.local_addr().unwrap());
    let (state, port) = (state_behind_nginx(), free_port());
    let secret = state.dir().join("webhook");
    write_private(&secret, SECRET);
    edit(&state.dir().join("farmgate.toml"), |text| {
        format!(
            "public-url = \"https://localhost:{port}\"\n{text}\n[sync]\nremote = \"{address}\"\n\
             interval = \"1d\"\nwebhook-secret = {secret:?}\n"
        )
    });
    let [certificate, key] =
        ["server.crt", "server.key"].map(|name| state.dir().join("pki").join(name));
    let public = ["--public-certificate", certificate.to_str().unwrap()];
    let public = [&public[..], &["--public-key", key.to_str().unwrap()]].concat();
    let server = TestServer::start(&state);
    asked(&remote);
    server.wait_for_log("sync failed");
    let nginx = Nginx::start_with(&state, &public, "info", port);
    // No look may be missed, and none be counted twice.
    remote.set_nonblocking(true).unwrap();
    let post = |name: &str, headers: &str, body: &str| {
        let length = body.len();
        let raw = format!(
            "POST /update-cfg HTTP/1.1\r\nHost: boot\r\nConnection: close\r\nContent-Length: \
             {length}\r\n{headers}\r\n{body}"
        );
        nginx.send(&state, name, &raw).unwrap()
    };
    let gitlab = |token: &str| format!("X-Gitlab-Event: Push Hook\r\nX-Gitlab-Token: {token}\r\n");
    for name in ["127.0.0.1", "localhost"] {
        let push =
            |forge: &str| format!("{{\"ref\": \"refs/heads/main\", \"n\": \"{name}{forge}\"}}");
        let (hub, lab) = (push("github"), push("gitlab"));
        let hub_signed = signature(SECRET, &hub);
        for (headers, body) in [
            (signature("another secret of a forge", &hub), &hub),
            (hub_signed.clone(), &lab),
            (gitlab("unmistakable-guess-of-a-token"), &lab),
            (String::new(), &lab),
        ] {
            let reply = post(name, &headers, body);
            assert_eq!(reply.status, 403, "{name} {headers}");
            assert!(!reply.text().contains("unmistakable"), "{}", reply.text());
        }
        assert!(remote.accept().is_err(), "somebody looked");
        for (headers, body) in [(&hub_signed, &hub), (&gitlab(SECRET), &lab)] {
            assert_eq!(post(name, headers, body).status, 202, "{name} {headers}");
            remote.set_nonblocking(false).unwrap();
            asked(&remote);
            remote.set_nonblocking(true).unwrap();
        }
        // As long as farmgate takes, and longer.
        let long =
            format!("{{\"ref\": \"refs/heads/other\", \"x\": \"{}\"}}", "x".repeat(1_000_000));
        assert_eq!(post(name, &signature(SECRET, &long), &long).status, 200);
        let longer = "x".repeat(1_100_000);
        assert_eq!(post(name, &signature(SECRET, &longer), &longer).status, 413);
        let get = "GET /update-cfg HTTP/1.1\r\nHost: boot\r\nConnection: close\r\n\r\n";
        assert_eq!(nginx.send(&state, name, get).unwrap().status, 404);
    }
    let written = nginx.written().into_iter().map(|(_, text)| text);
    for text in written.chain([server.log_so_far()]) {
        assert!(!text.contains("unmistakable"), "{text}");
    }
}

#[test]
fn what_is_too_long_is_not_taken() {
    let remote = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/fleet.git", remote.local_addr().unwrap());
    let (state, server) = server(&address, Some(SECRET));
    let fits = format!("{{\"ref\": \"refs/heads/other\", \"x\": \"{}\"}}", "x".repeat(1_000_000));
    assert_eq!(post(&state, &server, &signature(SECRET, &fits), &fits).status, 200);
    // It says so itself.
    let mut stream = server.tls(&state, None);
    let head = "POST /update-cfg HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
    stream.write_all(format!("{head}Content-Length: 1048577\r\n\r\n").as_bytes()).unwrap();
    assert_eq!(receive(stream).unwrap().status, 413);
    // It does not say how long it is.
    let long = "x".repeat(1024 * 1024 + 1);
    let mut stream = server.tls(&state, None);
    let chunk = format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}", long.len());
    stream.write_all(chunk.as_bytes()).unwrap();
    assert_eq!(receive(stream).unwrap().status, 413);
}

#[test]
fn without_a_secret_there_is_no_such_route() {
    let remote = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/fleet.git", remote.local_addr().unwrap());
    for (secret, status) in
        [(None, 404), (Some("short"), 404), (Some(""), 404), (Some(SECRET), 202)]
    {
        let (state, server) = server(&address, secret);
        let key = secret.filter(|secret| !secret.is_empty()).unwrap_or(SECRET);
        assert_eq!(post(&state, &server, &signature(key, PUSH), PUSH).status, status, "{secret:?}");
        // Nor for another method, with a secret or without.
        let reply =
            crate::common::request(server.tls(&state, None), "GET", "/update-cfg", "").unwrap();
        assert_eq!(reply.status, 404);
    }
}
