//! Reports of booted systems on their way: the flight recorder past the kernel.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use serde_json::Value;
use serde_json::json;

use crate::common::PATIENCE;
use crate::common::Reply;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::free_port;
use crate::common::request;
use crate::common::setting_path;
use crate::json::hold;
use crate::nginx_logs::Nginx;

/// A gateway whose generation has the token among its secrets, and its server.
fn fleet() -> (TestState, TestServer) {
    let state = TestState::quick();
    let admin = state.dir().join("admin.sock");
    state.set_listen(&format!("admin = \"{}\"\n", admin.display()));
    let files = [("boot.ipxe", &b"#!ipxe\nboot\n"[..]), ("secrets", b"${boot_token}")];
    let folder = state.folder("published", &files);
    state.ok(&["publish", "--force", "lab-1", folder.to_str().unwrap()]);
    let server = TestServer::start(&state);
    (state, server)
}

/// Boots lab-1 as far as its secrets; returns the boot's token.
fn boot(state: &TestState, server: &TestServer) -> String {
    assert_eq!(server.get(state, "/boot/ipxe").status, 302);
    let script = server.get(state, "/files/boot.ipxe").text();
    let token = server.get_unix(&setting_path(&script, "secrets_url").unwrap(), "").text();
    assert!(token.starts_with("lab-1-"), "{token}");
    token
}

fn post(server: &TestServer, path: &str, body: &[u8]) -> Reply {
    let stream = UnixStream::connect(&server.unix).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let headers = format!("Content-Length: {}\r\n", body.len());
    request(Posted { stream, body: body.to_vec() }, "POST", path, &headers).unwrap()
}

/// Sends a body behind the head.
struct Posted {
    stream: UnixStream,
    body: Vec<u8>,
}

impl std::io::Write for Posted {
    fn write(&mut self, head: &[u8]) -> std::io::Result<usize> {
        let mut all = head.to_vec();
        all.append(&mut self.body);
        // A server that has read enough may close.
        let _ = std::io::Write::write_all(&mut self.stream, &all);
        Ok(head.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl std::io::Read for Posted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stream.read(buffer)
    }
}

fn report(server: &TestServer, token: &str, report: &Value) -> u16 {
    post(server, &format!("/boot/report/{token}"), report.to_string().as_bytes()).status
}

/// `status lab-1` once the last report is in it.
fn status(state: &TestState, last: &str) -> Value {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let status = state.json(&["status", "lab-1"]);
        let stages = status["boots"][0]["stages"].as_array().unwrap();
        if stages.last().is_some_and(|stage| stage["report"]["step"] == last) {
            return status;
        }
        assert!(std::time::Instant::now() < deadline, "{status:#}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn the_record_of_a_boot_goes_on_past_the_kernel() {
    let (state, server) = fleet();
    let token = boot(&state, &server);
    for step in [
        json!({"uptime": 900, "step": "network", "address": "192.0.2.7"}),
        json!({"uptime": 950, "step": "time", "source": "boot-host", "forward": 12}),
        json!({"uptime": 1500, "step": "drive", "kind": "cache", "size": 9_000_000, "free": 5_000_000}),
        json!({"uptime": 1600, "step": "volume", "name": "config", "kind": "last-copy", "trouble": "bucket away"}),
        json!({"uptime": 2000, "step": "image", "reference": "r/x:1", "digest": "sha256:ab", "fetched": 1_500_000, "reused": 0}),
        json!({"uptime": 2100, "step": "started", "container": "main"}),
        json!({"uptime": 2100, "step": "of-a-later-version", "x": [1]}),
        json!({"uptime": 3100, "step": "healthy"}),
    ] {
        assert_eq!(report(&server, &token, &step), 200, "{step}");
    }
    let status = status(&state, "healthy");
    hold("status NAME", std::slice::from_ref(&status));
    assert_eq!(status["stage"], "healthy");
    // A report is no acknowledgement.
    assert_eq!(status["acknowledged"], false);
    let text = state.ok(&["status", "lab-1"]);
    for line in [
        "network up, 192.0.2.7 (0.9 s after its kernel started)",
        "time from boot-host, set forward by 12 s",
        "drive (cache), 5 of 9 MB free",
        "volume config (last-copy): bucket away",
        "image r/x:1, 1.5 MB fetched, 0.0 MB reused",
        "container main started",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let api: Value = serde_json::from_slice(&state.admin("/api/v1/gateways/lab-1").body).unwrap();
    assert_eq!((&api["stage"], &api["consoles"]), (&json!("healthy"), &Value::Null));
    let page = state.admin("/gateways/lab-1").text();
    assert!(page.contains("bar agent") && page.contains("volume config (last-copy)"), "{page}");
    let metrics = state.admin("/metrics").text();
    for line in ["reports_total{step=\"image\"} 1", "reports_total{step=\"other\"} 1"] {
        assert!(metrics.contains(&format!("farmgate_{line}\n")), "{metrics}");
    }
}

#[test]
fn a_boot_that_fails_leaves_the_end_of_its_console() {
    let (state, server) = fleet();
    let mut tokens = Vec::new();
    for round in 0..4 {
        let token = boot(&state, &server);
        let drive = json!({"uptime": 9, "step": "drive", "kind": "memory", "size": 1, "free": 1});
        assert_eq!(report(&server, &token, &drive), 200);
        let console = format!("line\n{}\nround {round} \u{1b}[2Jpanic <b>", "x".repeat(80_000));
        let failed =
            json!({"uptime": 70, "step": "failed", "what": "no image", "console": console});
        assert_eq!(report(&server, &token, &failed), 200);
        tokens.push(token);
    }
    let status = status(&state, "failed");
    hold("status NAME", std::slice::from_ref(&status));
    let console = |boot: usize| status["boots"][boot]["console"].as_str();
    for boot in 0..3 {
        let console = console(boot).unwrap();
        assert!(console.len() <= 64 * 1024, "{}", console.len());
        let round = 3 - boot;
        assert!(console.ends_with(&format!("round {round} \u{fffd}[2Jpanic <b>")), "{round}");
    }
    assert_eq!(console(3), None);
    let kept = state.dir().join("store/consoles");
    let files: Vec<_> = fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&kept), mode(&files[0])), (0o700, 0o600));
    let text = state.ok(&["status", "lab-1"]);
    assert!(text.contains("failed: no image") && text.contains("      | round 3 "), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    let page = state.admin("/gateways/lab-1").text();
    assert!(page.contains("The end of its console") && page.contains("panic &lt;b&gt;"));
    let api: Value = serde_json::from_slice(&state.admin("/api/v1/gateways/lab-1").body).unwrap();
    assert_eq!(api["consoles"].as_array().unwrap().len(), 3);
    let metrics = state.admin("/metrics").text();
    assert!(metrics.contains("farmgate_failed_boots_total{after=\"drive\"} 4\n"), "{metrics}");
    assert!(metrics.contains("farmgate_failed_boots_total{after=\"none\"} 0\n"), "{metrics}");
    // Nothing of it outlives the gateway.
    state.ok(&["gateway", "remove", "--yes", "lab-1"]);
    assert_eq!(fs::read_dir(&kept).unwrap().count(), 0);
    let healthy = json!({"uptime": 1, "step": "healthy"});
    assert_eq!(report(&server, &tokens[3], &healthy), 404);
}

#[test]
fn only_the_boots_own_token_reports() {
    let (state, server) = fleet();
    let token = boot(&state, &server);
    let script = server.get(&state, "/files/boot.ipxe").text();
    let ack = setting_path(&script, "ack_url").unwrap().replace("/boot/ack/", "");
    let healthy = json!({"uptime": 1, "step": "healthy"});
    let other = token.replace("lab-1", "lab-2");
    for wrong in [&*ack, &*other, "x", &token[..token.len() - 1]] {
        assert_eq!(report(&server, wrong, &healthy), 404, "{wrong}");
    }
    let path = format!("/boot/report/{token}");
    assert_eq!(server.get_unix(&path, "").status, 405);
    assert_eq!(post(&server, &path, b"{}").status, 400);
    assert_eq!(post(&server, &path, &vec![b' '; 129 * 1024]).status, 413);
    assert_eq!(report(&server, &token, &healthy), 200);
    let log = server.log_so_far();
    assert!(log.contains("gateway reports: healthy") && !log.contains(&token), "{log}");
    state.ok(&["gateway", "revoke", "lab-1"]);
    assert_eq!(report(&server, &token, &healthy), 403);
}

/// A gateway gone bad fills neither memory nor disk, and takes nothing from others.
#[test]
fn a_gateway_that_never_stops_is_not_heard_for_ever() {
    let (state, server) = fleet();
    state.ok(&["gateway", "add", "lab-2"]);
    let folder = state.dir().parent().unwrap().join("published");
    state.ok(&["publish", "--force", "lab-2", folder.to_str().unwrap()]);
    let tokens = [boot(&state, &server), boot(&state, &server)];
    let trouble = json!({"uptime": 1, "step": "trouble", "what": "x".repeat(9000)});
    let answers: Vec<_> = (0..300).map(|n| report(&server, &tokens[n % 2], &trouble)).collect();
    let heard = answers.iter().filter(|status| **status == 200).count();
    assert!((120..300).contains(&heard), "{heard}");
    assert_eq!(answers.last(), Some(&429));
    let reply = post(&server, &format!("/boot/report/{}", tokens[0]), b"{}");
    assert_eq!(reply.header("retry-after"), Some("60"));
    let journal = |name: &str| {
        let homes = fs::read_dir(state.dir().join("store/gateways")).unwrap();
        let homes = homes.map(|home| home.unwrap().path().join(name));
        homes.filter_map(|path| fs::metadata(path).ok()).map(|facts| facts.len()).sum::<u64>()
    };
    assert!(journal("journal.jsonl") + journal("journal.old.jsonl") < 600_000);
    // Another gateway is heard meanwhile.
    assert_eq!(server.get_as(&state, "lab-2", "/boot/ipxe").status, 302);
    let script = server.get_as(&state, "lab-2", "/files/boot.ipxe").text();
    let token = server.get_unix(&setting_path(&script, "secrets_url").unwrap(), "").text();
    assert_eq!(report(&server, &token, &json!({"uptime": 1, "step": "healthy"})), 200);
}

/// nginx takes reports of their full length, and writes none of them to its disk or its logs.
#[test]
fn a_long_report_comes_through_nginx() {
    let state = TestState::with_init(&["--key-type", "p256"]);
    state.ok(&["gateway", "add", "lab-1"]);
    state.set_listen("proxy-mark = true");
    let files = [("boot.ipxe", &b"#!ipxe\nboot\n"[..]), ("secrets", b"${boot_token}")];
    let folder = state.folder("published", &files);
    state.ok(&["publish", "lab-1", folder.to_str().unwrap()]);
    let server = TestServer::start(&state);
    let token = boot(&state, &server);
    let nginx = Nginx::start_with(&state, &[], "notice", free_port());
    let say = |console: usize| {
        let console = "unmistakable ".repeat(console / 13);
        let body = json!({"uptime": 1, "step": "failed", "what": "x", "console": console});
        let (body, host) = (body.to_string(), "Host: boot\r\nConnection: close");
        let length = body.len();
        let raw = format!(
            "POST /boot/report/{token} HTTP/1.1\r\n{host}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        nginx.send(&state, "127.0.0.1", &raw).map(|reply| reply.status)
    };
    assert_eq!(say(120_000), Some(200));
    assert_eq!(say(150_000), Some(413));
    for (path, text) in nginx.written() {
        assert!(!text.contains("unmistakable") && !text.contains(&token), "{}", path.display());
    }
    assert!(state.json(&["status", "lab-1"])["boots"][0]["console"].is_string());
}
