//! The status page and the API beside it, over HTTP as a browser asks.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use crate::common::PATIENCE;
use crate::common::Reply;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::free_port;
use crate::common::kernel;
use crate::common::request;

/// A state whose server has an admin listener.
fn state() -> TestState {
    let state = TestState::quick();
    let admin = state.dir().join("admin.sock");
    state.set_listen(&format!("admin = \"{}\"", admin.display()));
    state
}

/// Asks until the answer says so: the page may be as old as it takes to read it a few times.
#[track_caller]
fn wait_for(state: &TestState, path: &str, text: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let page = state.admin(path).text();
        if page.contains(text) {
            return page;
        }
        assert!(Instant::now() < deadline, "{path} never said {text:?}, only {page}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Boots `lab-1` as far as its script, which is returned.
fn boot(state: &TestState, server: &TestServer) -> String {
    let script = server.get(state, "/boot/ipxe?mac=52:54:00:12:34:56&version=2.0.0");
    let script = script.header("location").unwrap().to_owned();
    server.get(state, &script).text()
}

fn acknowledge(state: &TestState, server: &TestServer, script: &str) {
    let (_, token) = script.split_once("/boot/ack/").unwrap();
    let token = token.split_whitespace().next().unwrap();
    assert_eq!(server.get(state, &format!("/boot/ack/{token}")).status, 200);
}

#[test]
fn the_fleet_is_shown_as_it_is() {
    let state = state();
    state.ok(&["gateway", "add", "lab-10"]);
    state.ok(&["gateway", "add", "lab-2"]);
    let server = TestServer::start(&state);
    let page = state.admin("/");
    assert_eq!(page.status, 200, "{}", page.text());
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let page = page.text();
    assert!(page.contains("No problems among 3 gateways"), "{page}");
    assert!(page.contains("nothing published"), "{page}");
    let at = |name: &str| page.find(&format!("id=\"g-{name}\"")).unwrap();
    assert!(at("lab-1") < at("lab-2") && at("lab-2") < at("lab-10"), "{page}");

    state.publish("lab-1", 1000);
    wait_for(&state, "/", "never booted");
    wait_for(&state, "/", "0 of 3 tries used");
    let script = boot(&state, &server);
    let page = wait_for(&state, "/", "1 of 3 tries used");
    assert!(page.contains("booting"), "{page}");
    wait_for(&state, "/", "reached: boot.ipxe");
    acknowledge(&state, &server, &script);
    let page = wait_for(&state, "/", ">acknowledged<");
    assert!(!page.contains("tries used"), "{page}");

    state.ok(&["gateway", "revoke", "lab-2"]);
    wait_for(&state, "/", "REVOKED");
}

#[test]
fn a_gateway_has_a_page_with_boots_generations_and_log() {
    let state = state();
    let script = b"#!ipxe\nkernel vmlinuz\necho <b>hello\nboot\n";
    let secret = b"password = tr0ub4dor";
    let first = [("boot.ipxe", &b"#!ipxe\nboot\n"[..]), ("secrets", secret)];
    let folder = state.folder("published", &first);
    state.ok(&["publish", "--force", "lab-1", folder.to_str().unwrap()]);
    let server = TestServer::start(&state);
    let text = boot(&state, &server);
    acknowledge(&state, &server, &text);
    let second =
        [("boot.ipxe", &script[..]), ("secrets", &b"other = 1"[..]), ("vmlinuz", &kernel()[..])];
    let folder = state.folder("published", &second);
    state.ok(&["publish", "--force", "lab-1", folder.to_str().unwrap()]);

    let page = wait_for(&state, "/gateways/lab-1", "acknowledged after");
    for text in [
        "<h1>lab-1</h1>",
        "52:54:00:12:34:56",
        "<svg role=\"img\"",
        "Generation 2",
        "changed: boot.ipxe, secrets; added: vmlinuz",
        "+ echo &lt;b&gt;hello",
        "published generation 2",
        "published generation 1",
        "added the gateway",
        ", by <strong>",
    ] {
        assert!(page.contains(text), "no {text:?} in {page}");
    }
    for text in ["tr0ub4dor", "<b>hello", "/boot/ack/"] {
        assert!(!page.contains(text), "{text:?} in {page}");
    }
}

#[test]
fn addresses_that_lead_nowhere_are_404() {
    let state = state();
    let _server = TestServer::start(&state);
    assert_eq!(state.admin("/gateways/lab-1").status, 200);
    assert_eq!(state.admin("/rollouts").status, 200);
    assert_eq!(state.admin("/api/v1/gateways/lab-1").status, 200);
    for path in [
        "/gateways/lab-9",
        "/gateways/..%2f..%2fpki",
        "/gateways/%3Cscript%3E",
        "/gateways/",
        "/assets/page.txt",
        "/api/v1/gateways/lab-9",
        "/api/v1",
    ] {
        let reply = state.admin(path);
        assert_eq!(reply.status, 404, "{path}");
        assert!(!reply.text().contains("<script>"), "{path}: {}", reply.text());
    }
    // No query is an error.
    for path in ["/?page=9&sort=nothing&show=%00&q=%ff", "/?page=-1", "/?q=%E0%A4%A"] {
        assert_eq!(state.admin(path).status, 200, "{path}");
    }
}

#[test]
fn browsers_are_told_to_take_nothing_from_elsewhere() {
    let state = state();
    let _server = TestServer::start(&state);
    for path in ["/", "/gateways/lab-1", "/rollouts", "/gateways/nobody", "/api/v1/gateways"] {
        let reply = state.admin(path);
        let policy = reply.header("content-security-policy").unwrap();
        for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"), "{path}");
        let page = reply.text();
        for inline in ["style=", "<style", "onclick", "javascript:", "http://", "https://"] {
            assert!(!page.contains(inline), "{inline} in {path}: {page}");
        }
    }
    // All that the page names is there, and may be kept.
    let page = state.admin("/").text();
    for (path, kind) in [
        ("/assets/page.css?", "text/css; charset=utf-8"),
        ("/assets/page.js?", "text/javascript; charset=utf-8"),
        ("/assets/sign.svg?", "image/svg+xml"),
    ] {
        let (_, rest) = page.split_once(path).unwrap();
        let version = rest.split('"').next().unwrap();
        let reply = state.admin(&format!("{path}{version}"));
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(kind)), "{path}");
        assert!(reply.header("cache-control").unwrap().contains("immutable"));
    }
}

#[test]
fn nothing_can_be_changed() {
    let state = state();
    let _server = TestServer::start(&state);
    for path in ["/", "/gateways/lab-1", "/rollouts", "/events", "/api/v1/gateways"] {
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let stream = UnixStream::connect(state.dir().join("admin.sock")).unwrap();
            let reply = request(stream, method, path, "Content-Length: 0\r\n").unwrap();
            assert_eq!(reply.status, 405, "{method} {path}");
        }
    }
    let page = state.admin("/").text();
    assert!(page.contains("<form") && !page.contains("method=\"post\""), "{page}");
}

#[test]
fn other_names_than_the_loopbacks_are_refused() {
    let state = TestState::quick();
    let port = free_port();
    state.set_listen(&format!("admin = \"127.0.0.1:{port}\""));
    let _server = TestServer::start(&state);
    let ask = |path: &str, host: &str| -> Reply {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nConnection: close\r\nHost: {host}\r\n\r\n").unwrap();
        crate::common::receive(stream).unwrap()
    };
    for path in ["/", "/gateways/lab-1", "/api/v1/gateways", "/assets/page.js"] {
        assert_eq!(ask(path, &format!("localhost:{port}")).status, 200, "{path}");
        let refused = ask(path, "rebound.example");
        assert_eq!(refused.status, 421, "{path}");
        assert!(!refused.text().contains("lab-1"));
    }
    assert_eq!(ask("/events", "rebound.example").status, 421);
}

/// A proxy's name, once the configuration has it, and only as long as it has.
#[test]
fn a_proxys_name_is_accepted_when_it_is_configured() {
    let state = TestState::quick();
    let port = free_port();
    let configure = |hosts: &str| {
        state.set_listen(&format!("admin = \"127.0.0.1:{port}\"\n{hosts}"));
    };
    configure("");
    let server = TestServer::start(&state);
    let ask = |host: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET / HTTP/1.1\r\nConnection: close\r\nHost: {host}\r\n\r\n").unwrap();
        crate::common::receive(stream).unwrap().status
    };
    let reload = || {
        server.signal(rustix::process::Signal::HUP);
        server.wait_for_log("reloaded");
    };
    let hosts = ["farmgate.lan", "Farmgate.Lan:443", "192.0.2.7"];
    assert_eq!(hosts.map(ask), [421; 3]);
    configure("admin-hosts = [\"farmgate.lan\", \"192.0.2.7\"]");
    reload();
    assert_eq!(hosts.map(ask), [200; 3]);
    for other in ["x.farmgate.lan", "farmgate.lan.rebound.example", "a@farmgate.lan", "lan", ""] {
        assert_ne!(ask(other), 200, "{other}");
    }
    assert_eq!(ask("localhost"), 200);
    configure("");
    reload();
    assert_eq!(hosts.map(ask), [421; 3]);
    for bad in ["*", "farmgate.lan:443", "https://farmgate.lan", ""] {
        configure(&format!("admin-hosts = [\"{bad}\"]"));
        let error = state.fails_at_length(&["status"]);
        assert!(error.contains("the name of a host"), "{error}");
    }
}

/// What browsers say of where a request comes from (Fetch Metadata).
#[test]
fn pages_of_other_sites_can_only_link_here() {
    let state = state();
    let _server = TestServer::start(&state);
    let ask = |path: &str, site: &str, mode: &str| {
        let stream = UnixStream::connect(state.dir().join("admin.sock")).unwrap();
        let headers = format!("Sec-Fetch-Site: {site}\r\nSec-Fetch-Mode: {mode}\r\n");
        request(stream, "GET", path, &headers).unwrap().status
    };
    for path in ["/", "/api/v1/gateways"] {
        assert_eq!(ask(path, "cross-site", "no-cors"), 403, "{path}");
        assert_eq!(ask(path, "same-origin", "cors"), 200, "{path}");
        assert_eq!(ask(path, "cross-site", "navigate"), 200, "{path}");
    }
    assert_eq!(ask("/events", "cross-site", "cors"), 403);
}

#[test]
fn the_filter_works_by_address_alone() {
    let state = state();
    for name in ["attic-1", "attic-2"] {
        state.ok(&["gateway", "add", name]);
    }
    state.publish("attic-2", 10);
    let _server = TestServer::start(&state);
    let names = |path: &str| -> Vec<String> {
        let page = state.admin(path).text();
        let rows = page.split("<tr role=\"row\" id=\"g-").skip(1);
        rows.map(|row| row.split('"').next().unwrap().to_owned()).collect()
    };
    // One is on trial, which comes before those that nothing is published for.
    assert_eq!(names("/"), ["attic-2", "attic-1", "lab-1"]);
    assert_eq!(names("/?sort=name"), ["attic-1", "attic-2", "lab-1"]);
    assert_eq!(names("/?q=ATTIC"), ["attic-2", "attic-1"]);
    assert_eq!(names("/?q=attic+trial"), ["attic-2"]);
    assert_eq!(names("/?show=busy"), ["attic-2"]);
    assert!(names("/?show=problems").is_empty());
    assert!(state.admin("/?q=%22%3E%3Cb%3E").text().contains("value=\"&quot;&gt;&lt;b&gt;\""));
}

#[test]
fn the_api_says_what_the_page_says() {
    let state = state();
    state.publish("lab-1", 10);
    let server = TestServer::start(&state);
    let script = boot(&state, &server);
    acknowledge(&state, &server, &script);
    wait_for(&state, "/api/v1/gateways", "\"acknowledged\":true");
    let all: serde_json::Value =
        serde_json::from_slice(&state.admin("/api/v1/gateways").body).unwrap();
    let one: serde_json::Value =
        serde_json::from_slice(&state.admin("/api/v1/gateways/lab-1").body).unwrap();
    assert_eq!(all[0], one);
    assert_eq!((&one["gateway"], &one["generation"]), (&"lab-1".into(), &1.into()));
    assert_eq!((&one["level"], &one["acknowledged"]), (&"good".into(), &true.into()));
}

/// Reads the stream of changes line by line.
fn watch(state: &TestState) -> (u16, BufReader<UnixStream>) {
    let mut stream = UnixStream::connect(state.dir().join("admin.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut stream = BufReader::new(stream);
    let (mut line, mut status) = (String::new(), 0);
    while stream.read_line(&mut line).unwrap() > 2 {
        if status == 0 {
            status = line.split(' ').nth(1).unwrap().parse().unwrap();
        }
        line.clear();
    }
    (status, stream)
}

#[track_caller]
fn read_until(stream: &mut BufReader<UnixStream>, text: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    let mut line = String::new();
    while Instant::now() < deadline && stream.read_line(&mut line).unwrap() > 0 {
        if line.contains(text) {
            return line;
        }
        line.clear();
    }
    panic!("the stream never said {text:?}");
}

#[test]
fn open_pages_hear_of_boots_and_of_commands() {
    let state = state();
    state.publish("lab-1", 10);
    let mut server = TestServer::start(&state);
    let (status, mut stream) = watch(&state);
    assert_eq!(status, 200);
    read_until(&mut stream, "event: hello");
    let script = boot(&state, &server);
    read_until(&mut stream, "1 of 3 tries used");
    acknowledge(&state, &server, &script);
    read_until(&mut stream, ">acknowledged<");
    // Another process does this.
    state.ok(&["gateway", "add", "lab-2"]);
    read_until(&mut stream, "g-lab-2");

    // They do not hold up the end of the server.
    server.terminate();
    assert!(server.wait().success());
}

#[test]
fn only_so_many_pages_are_told_of_changes() {
    let state = state();
    let _server = TestServer::start(&state);
    let mut open: Vec<_> = (0..16).map(|_| watch(&state)).collect();
    assert!(open.iter().all(|(status, _)| *status == 200));
    for (_, stream) in &mut open {
        read_until(stream, "event: hello");
    }
    assert_eq!(watch(&state).0, 503);
    assert_eq!(state.admin("/").status, 200);
    // One that leaves makes room, once the server has noticed.
    drop(open.pop());
    let deadline = Instant::now() + PATIENCE;
    while watch(&state).0 != 200 {
        assert!(Instant::now() < deadline, "nobody is let in again");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
