//! A real nginx with what `nginx-config` prints: what it logs, and whether farmgate knows it.

use std::io::Write;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use crate::common::PATIENCE;
use crate::common::Reply;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::edit;
use crate::common::free_port;
use crate::common::receive;
use crate::common::setting;
use crate::common::tls_to;

/// A running nginx, ended when dropped.
pub(crate) struct Nginx {
    child: Child,
    dir: tempfile::TempDir,
    pub(crate) port: u16,
}

impl Nginx {
    /// Logs requests and, from the level `notice` on, errors.
    fn start(state: &TestState, args: &[&str]) -> Self {
        Self::start_with(state, args, "notice", free_port())
    }

    /// The same, for clients with several connections.
    pub(crate) fn for_many(state: &TestState) -> Self {
        Self::start_for(state, &[], "notice", free_port(), 512)
    }

    pub(crate) fn start_with(state: &TestState, args: &[&str], level: &str, port: u16) -> Self {
        // One request at a time from one address, so that one that waits keeps others out.
        Self::start_for(state, args, level, port, 1)
    }

    fn start_for(
        state: &TestState,
        args: &[&str],
        level: &str,
        port: u16,
        connections: u32,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listen = format!("127.0.0.1:{port}");
        let socket = state.dir().join("http.sock");
        let mut all = vec!["nginx-config", "--listen", &*listen, "--unix"];
        all.push(socket.to_str().unwrap());
        all.extend(args);
        let limit = format!("farmgate_clients {connections}");
        let servers = state.ok(&all).replace("farmgate_clients 512", &limit);
        // As root it would give its workers to a user that cannot enter a test's directory.
        let user = if rustix::process::geteuid().is_root() { "user root root;" } else { "" };
        let prefix = dir.path().display();
        let text = format!(
            "daemon off; {user} pid {prefix}/pid; error_log {prefix}/error.log {level}; events {{}}
             http {{ access_log {prefix}/access.log; client_body_temp_path {prefix}/a;
             proxy_temp_path {prefix}/b; fastcgi_temp_path {prefix}/c; uwsgi_temp_path {prefix}/d;
             scgi_temp_path {prefix}/e;\n{servers} }}\n"
        );
        let config = dir.path().join("nginx.conf");
        std::fs::write(&config, text).unwrap();
        let stderr = std::fs::File::create(dir.path().join("stderr")).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(dir.path()).arg("-c").arg(&config).stderr(stderr);
        command.arg("-e").arg(dir.path().join("error.log"));
        let child = command.spawn();
        let child = child.expect("nginx is needed: scripts/install-packages brings it");
        let mut nginx = Self { child, dir, port };
        wait_until("nginx does not listen", || {
            assert!(nginx.child.try_wait().unwrap().is_none(), "{}", nginx.log("stderr"));
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        nginx
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }

    /// Every file that it has written, and where.
    pub(crate) fn written(&self) -> Vec<(PathBuf, String)> {
        let files = std::fs::read_dir(self.dir.path()).unwrap().map(|e| e.unwrap().path());
        let files = files.filter(|path| path.is_file() && !path.ends_with("nginx.conf"));
        files.map(|path| (path.clone(), std::fs::read_to_string(&path).unwrap())).collect()
    }

    /// Sends these bytes and returns the answer, if there is any.
    pub(crate) fn send(&self, state: &TestState, name: &str, raw: &str) -> Option<Reply> {
        let mut stream = tls_to(state, self.port, name, None).unwrap();
        // It may refuse, and close, before it has read everything.
        let raw = raw.replace("Host: boot", &format!("Host: {name}"));
        let _ = stream.write_all(raw.as_bytes());
        receive(stream).ok()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Killed, it would leave its workers.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

/// A gateway `lab-1` with secrets behind nginx, whose certificate is good for two names.
pub(crate) fn state_behind_nginx() -> TestState {
    let state = TestState::with_init(&["--key-type", "p256", "--san", "localhost"]);
    state.ok(&["gateway", "add", "lab-1"]);
    state.set_listen("proxy-mark = true\n[secrets]\nttl = \"10h\"");
    let files = [("boot.ipxe", &b"#!ipxe\nboot\n"[..]), ("secrets", b"secret")];
    let folder = state.folder("published", &files);
    state.ok(&["publish", "lab-1", folder.to_str().unwrap()]);
    state
}

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn request_of(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: boot\r\nConnection: close\r\n{headers}\r\n")
}

/// Requests for `path` that nginx, or what stands behind it, cannot take.
fn failing_requests(path: &str) -> Vec<(&'static str, String)> {
    let get = |headers: &str| request_of("GET", path, headers);
    let long = "a".repeat(40_000);
    vec![
        ("farmgate is down", get("")),
        ("a body", format!("{}abc", request_of("POST", path, "Content-Length: 3\r\n"))),
        ("percent-encoded", request_of("GET", &path.replace("e", "%65"), "")),
        ("slashes", request_of("GET", &format!("/{path}/"), "")),
        ("another version", format!("GET {path} HTTP/3.0\r\nHost: boot\r\n\r\n")),
        ("no version", format!("GET {path} HTTP/x\r\nHost: boot\r\n\r\n")),
        ("HTTP/0.9", format!("GET {path}\r\n")),
        ("no host", format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n")),
        ("another host", get("").replace("Host: boot", "Host: elsewhere")),
        ("two hosts", get("Host: other\r\n")),
        ("two lengths", get("Content-Length: x\r\n")),
        ("an unknown coding", get("Transfer-Encoding: x\r\n")),
        ("a long header", get(&format!("X: {long}\r\n"))),
        ("a long address", request_of("GET", &format!("{path}?{long}"), "")),
        ("TRACE", request_of("TRACE", path, "")),
        ("CONNECT", request_of("CONNECT", path, "")),
        ("no method", request_of("get", path, "")),
        ("a body that is too long", request_of("POST", path, "Content-Length: 9999999\r\n")),
        ("a control character", request_of("GET", &format!("{path}\u{1}"), "")),
        ("a referer", request_of("GET", "/boot/ipxe", &format!("Referer: https://a{path}\r\n"))),
        (
            "a referer with two hosts",
            request_of("GET", "/boot/ipxe", &format!("Referer: https://a{path}\r\nHost: b\r\n")),
        ),
    ]
}

fn tokens(server: &TestServer, state: &TestState) -> [String; 2] {
    let location = server.get(state, "/boot/ipxe").header("location").unwrap().to_owned();
    let script = server.get(state, &location).text();
    ["secrets_url", "ack_url"].map(|name| {
        let url = setting(&script, name).unwrap();
        url.strip_prefix("https://127.0.0.1:8443").unwrap().to_owned()
    })
}

/// With farmgate down, nginx used to log `GET /secrets/<token>` with its error, and what it
/// refused by itself in its access log: the token was good again after the start.
#[test]
fn no_token_is_in_any_log_whatever_fails() {
    let port = free_port();
    let state = state_behind_nginx();
    edit(&state.dir().join("farmgate.toml"), |text| {
        format!("public-url = \"https://localhost:{port}\"\n{text}")
    });
    let [certificate, key] =
        ["server.crt", "server.key"].map(|name| state.dir().join("pki").join(name));
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let public = ["--public-certificate", certificate, "--public-key", key];
    let server = TestServer::start(&state);
    let mut paths = tokens(&server, &state).to_vec();
    paths.push(paths[1].replace("/boot/ack/", "/boot/report/"));
    drop(server);
    let _ = std::fs::remove_file(state.dir().join("http.sock"));

    let nginx = Nginx::start_with(&state, &public, "notice", port);
    for name in ["127.0.0.1", "localhost"] {
        for path in &paths {
            for (what, raw) in failing_requests(path) {
                let reply = nginx.send(&state, name, &raw);
                let refused = reply.is_none_or(|reply| reply.status >= 400);
                assert!(refused || what == "HTTP/0.9", "{what} {path}");
            }
            let mut plain = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            plain.write_all(request_of("GET", path, "").as_bytes()).unwrap();
            assert_eq!(receive(plain).unwrap().status, 400);

            // One that waits for its body, and another one. It may itself come too soon after
            // the one before.
            wait_until("limit_conn lets everybody in", || {
                let mut waits = tls_to(&state, port, name, None).unwrap();
                let head = request_of("POST", path, "Content-Length: 3\r\n");
                let head = head.replace("Host: boot", &format!("Host: {name}"));
                waits.write_all(head.as_bytes()).unwrap();
                let reply = nginx.send(&state, name, &request_of("GET", path, ""));
                reply.is_some_and(|reply| reply.status == 503)
            });

            // More than its limit lets through: all on one connection, which is quick.
            let many = format!("GET {path} HTTP/1.1\r\nHost: boot\r\n\r\n").repeat(600);
            let many = format!("{many}{}", request_of("GET", path, ""));
            let many = many.replace("Host: boot", &format!("Host: {name}"));
            let mut stream = tls_to(&state, port, name, None).unwrap();
            stream.write_all(many.as_bytes()).unwrap();
            let mut answers = Vec::new();
            let _ = std::io::Read::read_to_end(&mut stream, &mut answers);
            let answers = String::from_utf8_lossy(&answers);
            assert!(answers.contains("HTTP/1.1 503 ") && answers.contains("Retry-After: 5"));
        }
    }
    // What has no token is logged as before, with its failure.
    let get = |path: &str| nginx.send(&state, "127.0.0.1", &request_of("GET", path, ""));
    wait_until("nobody is let in", || get("/boot/ipxe?x=1").is_some_and(|r| r.status == 502));
    nginx.send(&state, "127.0.0.1", &request_of("GET", "/boot/ipxe?x=2", "Host: b\r\n"));
    // nginx answers first, and then logs.
    wait_until("nothing is logged", || nginx.log("access.log").contains("/boot/ipxe?x=2"));
    let (access, errors) = (nginx.log("access.log"), nginx.log("error.log"));
    assert!(access.contains("GET /boot/ipxe?x=1 HTTP/1.1\" 502"), "{access}");
    assert!(access.contains("GET /boot/ipxe?x=2 HTTP/1.1\" 400"), "{access}");
    assert!(errors.contains("connect() to unix:") && errors.contains("/boot/ipxe?x=1"), "{errors}");

    let secret = |path: &String| path[path.len() - 20..].to_owned();
    for (path, text) in nginx.written() {
        for token in paths.iter().map(secret) {
            let line = text.lines().find(|line| line.contains(&token));
            assert_eq!(line, None, "{}", path.display());
        }
    }
    // The tokens were good all the time. That of the report is the acknowledgement's.
    let _server = TestServer::start(&state);
    for path in &paths[..2] {
        wait_until("a token is not good", || {
            let reply = nginx.send(&state, "localhost", &request_of("GET", path, ""));
            reply.is_some_and(|reply| reply.status == 200)
        });
    }
}

/// With `--log-dir` nginx logs nothing before it knows that there is no token: also not the
/// request that breaks off, and at no level.
#[test]
fn with_logs_of_its_own_not_even_half_a_request_is_logged() {
    let port = free_port();
    let state = state_behind_nginx();
    let logs = tempfile::tempdir().unwrap();
    let args = ["--log-dir", logs.path().to_str().unwrap()];
    let nginx = Nginx::start_with(&state, &args, "info", port);
    let token = "A".repeat(43);
    for (_, raw) in failing_requests(&format!("/secrets/{token}")) {
        nginx.send(&state, "127.0.0.1", &raw);
    }
    let half = format!("GET /secrets/{token} HTTP/1.1\r\nHo");
    let mut stream = tls_to(&state, port, "127.0.0.1", None).unwrap();
    stream.write_all(half.as_bytes()).unwrap();
    drop(stream);
    wait_until("nobody is let in", || {
        let reply = nginx.send(&state, "127.0.0.1", &request_of("GET", "/boot/ipxe?x=1", ""));
        reply.is_some_and(|reply| reply.status == 502)
    });
    nginx.send(&state, "127.0.0.1", &request_of("GET", "/boot/ipxe?x=2", "Host: b\r\n"));
    let read = |name: &str| std::fs::read_to_string(logs.path().join(name)).unwrap();
    wait_until("nothing is logged", || read("access.log").contains("/boot/ipxe?x=2"));
    let (access, errors) = (read("access.log"), read("error.log"));
    assert!(access.contains("/boot/ipxe?x=1") && access.contains("/boot/ipxe?x=2"), "{access}");
    assert!(errors.contains("/boot/ipxe?x=1"), "{errors}");
    let written = nginx.written().into_iter().map(|(_, text)| text);
    for text in written.chain([access, errors]) {
        let line = text.lines().find(|line| line.contains(&token));
        assert_eq!(line, None);
    }
}

/// The server knows its nginx by the secret that is in the file which the configuration includes.
#[test]
fn a_gateway_boots_through_nginx_that_knows_the_secret() {
    let state = state_behind_nginx();
    let server = TestServer::start(&state);
    let nginx = Nginx::start(&state, &[]);
    let credentials = Some(state.credentials("lab-1"));
    let mut stream = tls_to(&state, nginx.port, "127.0.0.1", credentials).unwrap();
    stream.write_all(request_of("GET", "/boot/ipxe", "").as_bytes()).unwrap();
    assert_eq!(receive(stream).unwrap().status, 302);
    drop((server, nginx));
}

/// A path with a slash too many, or a letter, used to be in farmgate's log with its token.
#[test]
fn farmgate_itself_logs_no_token_whatever_is_asked() {
    let state = state_behind_nginx();
    let server = TestServer::start_with(&state, &["-vvv"]);
    let paths = tokens(&server, &state);
    let mut variants = Vec::new();
    for path in &paths {
        let other = |from: &str, to: &str| path.replacen(from, to, 1);
        variants.extend([format!("{path}/"), format!("/{path}"), format!("{path}?x=1")]);
        variants.extend([
            other("/", "/x/"),
            other("s", "S"),
            other("b", "%62"),
            other("/", "/g/1/"),
        ]);
        variants.extend([other("/", "/files/"), format!("{path}%00"), format!("/x?u={path}")]);
    }
    for path in &variants {
        assert_ne!(server.get_with(&state, path, &format!("Referer: {path}\r\n")).status, 500);
        server.get_unix(path, "");
    }
    for path in &paths {
        server.get_unix(path, "");
    }
    server.get_unix("/last/of/all", "");
    let mut log = String::new();
    wait_until("the log says nothing", || {
        log += &server.log_so_far();
        log.contains("no route for \"/last/of/all\"")
    });
    for path in &paths {
        let token = &path[path.len() - 20..];
        let line = log.lines().find(|line| line.contains(token));
        assert_eq!(line, None);
    }
    // Others find what they asked for in vain.
    assert!(log.contains("no file \"secrets/"), "{log}");
    drop(server);
    // Nor is it in any file of the state: journals, for instance.
    for path in &paths {
        let token = &path[path.len() - 20..];
        let found = Command::new("grep").args(["-rlF", token]).arg(state.dir()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    }
}
