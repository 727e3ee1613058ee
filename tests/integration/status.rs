use std::io::Read;
use std::io::Write;
use std::time::Instant;

use serde_json::Value;

use crate::common::PATIENCE;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::nginx_headers;
use crate::common::setting_path;

/// `status lab-1`, once the journal, which is written on the side, satisfies `holds`.
fn status(state: &TestState, holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shown = state.json(&["status", "lab-1"]);
        if holds(&shown) {
            return shown;
        }
        assert!(Instant::now() < deadline, "never shown: {shown}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

fn stages(shown: &Value) -> Vec<&str> {
    let stages = shown["boots"][0]["stages"].as_array();
    stages.into_iter().flatten().map(|entry| entry["stage"].as_str().unwrap()).collect()
}

/// What a gateway says of itself used to reach the operator's terminal as it was: this sets its
/// title, and writes backwards.
#[test]
fn what_a_terminal_would_obey_is_not_shown() {
    let state = TestState::quick();
    state.publish("lab-1", 10);
    let server = TestServer::start(&state);
    let long = "x".repeat(5000);
    let query = format!("mac=%1b]0;owned%07&platform=%e2%80%ae%c2%9b31m&version={long}");
    assert_eq!(server.get(&state, &format!("/boot/ipxe?{query}")).status, 302);
    let shown = status(&state, |shown| stages(shown) == ["boot"]);
    assert_eq!(shown["boots"][0]["stages"][0]["mac"], "\u{fffd}]0;owned\u{fffd}");
    // A journal from before, and lines of another host.
    drop(server);
    let gateways = state.dir().join("store/gateways");
    let home = std::fs::read_dir(gateways).unwrap().next().unwrap().unwrap().path();
    let old = "{\"at\":\"2026-01-01T00:00:00Z\",\"address\":\"\\u001b[2J\",\"stage\":\"error\",\"error\":\"a\\u001b[31mb\"}\n";
    let mut journal =
        std::fs::File::options().append(true).open(home.join("journal.jsonl")).unwrap();
    journal.write_all(old.as_bytes()).unwrap();
    let text = state.ok(&["status", "lab-1"]);
    assert!(text.contains("a\u{fffd}[31mb (from \u{fffd}[2J)"), "{text}");
    for text in [text, state.ok(&["status"]), state.ok(&["--json", "status", "lab-1"])] {
        let harmful = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!text.contains(harmful) && text.len() < 5000, "{text:?}");
    }
}

#[test]
fn every_stage_of_a_boot_is_shown() {
    let state = TestState::with_gateway();
    assert!(state.ok(&["status"]).contains("lab-1"));
    assert!(state.ok(&["status", "lab-1"]).contains("nothing is published"));
    let folder = state.folder(
        "f",
        &[("boot.ipxe", b"#!ipxe\nboot\n"), ("vmlinuz", &[7; 9000]), ("secrets", b"K=1")],
    );
    state.ok(&["publish", "lab-1", folder.to_str().unwrap()]);
    let server = TestServer::start(&state);
    server.get(&state, "/boot/ipxe?mac=52:54:00:12:34:56&platform=efi&version=2.0.0");
    let script = server.get(&state, "/g/1/boot.ipxe").text();
    let url = |name: &str| setting_path(&script, name).unwrap();
    assert_eq!(server.get(&state, "/g/1/vmlinuz").body.len(), 9000);
    assert_eq!(server.get(&state, "/g/1/nothing").status, 404);
    assert_eq!(server.get(&state, &url("secrets_url")).status, 200);
    assert_eq!(server.get(&state, &url("ack_url")).status, 200);

    let all = ["boot", "file", "file", "error", "secrets", "acknowledged"];
    let shown = status(&state, |shown| stages(shown).len() == all.len());
    let mut seen = stages(&shown);
    // What has a body is written when the body is gone, which may be a moment later.
    seen.sort_unstable();
    let mut all = all.to_vec();
    all.sort_unstable();
    assert_eq!(seen, all);
    assert_eq!(shown["boots"][0]["acknowledged"], true);
    assert_eq!(shown["boots"][0]["stages"][0]["ipxe"], "2.0.0");
    let text = state.ok(&["status", "lab-1"]);
    for what in ["acknowledged", "52:54:00:12:34:56", "vmlinuz: 9000 of 9000", "has no file"] {
        assert!(text.contains(what), "{what} is not in {text}");
    }
    assert!(!text.contains(&url("ack_url")) && !text.contains(&url("secrets_url")));

    // It survives a restart, and a line that a crash tore is left out.
    drop(server);
    let gateways = state.dir().join("store/gateways");
    let home = std::fs::read_dir(gateways).unwrap().next().unwrap().unwrap().path();
    let mut journal =
        std::fs::File::options().append(true).open(home.join("journal.jsonl")).unwrap();
    journal.write_all(b"{\"at\":\"20").unwrap();
    assert_eq!(state.json(&["status", "lab-1"])["boots"], shown["boots"]);
}

#[test]
fn an_unfinished_download_and_a_refusal_are_shown() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 32 * 1024 * 1024);
    let server = TestServer::start(&state);
    server.get(&state, "/boot/ipxe");
    let mut stream = server.tls(&state, Some(state.credentials("lab-1")));
    stream.write_all(b"GET /g/1/vmlinuz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    stream.read_exact(&mut [0; 1024]).unwrap();
    drop(stream);
    let shown = status(&state, |shown| stages(shown).contains(&"file"));
    let file = shown["boots"][0]["stages"].as_array().unwrap().last().unwrap();
    assert!(file["bytes"].as_u64() < file["size"].as_u64(), "{file}");
    assert!(state.ok(&["status"]).contains(" %)"));

    state.ok(&["gateway", "revoke", "lab-1"]);
    assert_eq!(server.get(&state, "/boot/ipxe").status, 403);
    status(&state, |shown| shown["other"][0]["error"].as_str().unwrap_or("").contains("revoked"));
}

#[test]
fn behind_nginx_its_files_are_shown_too_and_the_journal_stays_small() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 10);
    state.set_listen("accel = \"/farmgate-blobs\"");
    let server = TestServer::start(&state);
    let nginx = nginx_headers(&state.credentials("lab-1").0);
    let headers = format!("{nginx}X-Real-IP: 192.0.2.7\r\n");
    server.get_unix("/boot/ipxe", &headers);
    for _ in 0..1200 {
        server.get_unix("/g/1/vmlinuz", &headers);
    }
    let shown = status(&state, |shown| stages(shown).contains(&"file-by-nginx"));
    let entry = &shown["boots"][0]["stages"].as_array().unwrap().last().unwrap();
    assert_eq!(entry["address"], "192.0.2.7");
    let gateways = state.dir().join("store/gateways");
    let home = std::fs::read_dir(gateways).unwrap().next().unwrap().unwrap().path();
    for name in ["journal.jsonl", "journal.old.jsonl"] {
        let size = std::fs::metadata(home.join(name)).map_or(0, |metadata| metadata.len());
        assert!(size < 140_000, "{name} has {size} bytes");
    }
}
