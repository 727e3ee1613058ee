use std::io::Read;
use std::io::Write;
use std::time::Instant;

use serde_json::Value;

use crate::common::PATIENCE;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::nginx_headers;
use crate::common::setting_path;
use crate::terminal;
use crate::terminal::on_terminal;

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

/// A terminal of so many columns: what farmgate shows there.
fn on_a_terminal(state: &TestState, columns: usize, env: &str, args: &str) -> String {
    let dir = state.dir();
    let bin = crate::common::BIN;
    let line = format!("stty cols {columns}; {env} {bin} --state {} {args}", dir.display());
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).env_remove("NO_COLOR").env("TERM", "xterm");
    let output = script.stdin(std::process::Stdio::null()).output().unwrap();
    String::from_utf8(output.stdout).unwrap().replace('\r', "")
}

#[test]
fn the_fleet_fits_the_terminal_and_says_what_is_wrong() {
    let state = TestState::with_init(&["--key-type", "p256"]);
    for name in ["lab-10", "lab-2", "a-gateway-with-quite-a-long-name"] {
        state.ok(&["gateway", "add", name, "--group", "debian"]);
        state.publish(name, 10);
    }
    state.ok(&["gateway", "add", "other"]);
    state.ok(&["gateway", "revoke", "lab-2"]);
    let text = state.ok(&["status"]);
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what}: {text}"));
    assert!(at("\nlab-2 ") < at("\nlab-10 ") && at("REVOKED") > at("\nlab-2 "));
    assert!(
        text.contains("\n4 gateways: 2 on trial, 1 REVOKED, 1 without a generation; 1 failed"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'));
    assert!(state.ok(&["status", "lab-2"]).contains("REVOKED: no medium of it boots"));

    for columns in [40, 80, 200] {
        let shown = on_a_terminal(&state, columns, "NO_COLOR=1", "status");
        assert!(shown.contains("REVOKED") && !shown.contains('\u{1b}'), "{shown}");
        for line in shown.lines() {
            assert!(line.chars().count() <= columns, "{columns}: {line}");
        }
    }
    let colours =
        |env, args| on_a_terminal(&state, 80, env, args).contains("\u{1b}[1;31mREVOKED\u{1b}[0m");
    assert!(colours("", "status") && !colours("NO_COLOR=1", "status"));
    let forced = std::process::Command::new(crate::common::BIN)
        .arg("--state")
        .arg(state.dir())
        .arg("status")
        .env("CLICOLOR_FORCE", "1")
        .env_remove("NO_COLOR")
        .output()
        .unwrap();
    assert!(forced.stdout.windows(7).any(|part| part == b"\x1b[1;31m"));

    let names = |args: &[&str]| -> Vec<String> {
        let rows = state.json(args);
        rows.as_array()
            .unwrap()
            .iter()
            .map(|row| row["gateway"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&["status", "--failed"]), ["lab-2"]);
    assert_eq!(state.json(&["status", "--failed"])[0]["trouble"], "revoked");
    assert_eq!(names(&["status", "--group", "debian"]).len(), 3);
    assert_eq!(names(&["status", "--group", "debian", "lab-10", "other"]), ["lab-10"]);
    // Published last, first; without a certificate, it has ended.
    assert_eq!(names(&["status", "--sort", "since"])[0], "a-gateway-with-quite-a-long-name");
    assert_eq!(names(&["status", "--sort", "expiry"])[0], "lab-2");
    assert_eq!(names(&["status", "--sort", "generation"])[0], "other");
    assert_eq!(names(&["status", "other", "lab-2", "--sort", "name"]), ["lab-2", "other"]);
    assert_eq!(state.run(&["status", "--sort", "colour"]).status.code(), Some(2));
    assert_eq!(state.ok(&["status", "--failed", "lab-10", "other"]).trim(), "none of them");
}

/// Somebody at a terminal is asked, and only `y` is a yes.
#[test]
fn removal_is_asked_for_on_a_terminal() {
    let state = TestState::quick();
    state.ok(&["gateway", "add", "lab-2"]);
    let ask = |answer: &str, args: &str| {
        let line = format!("{} --state {} {args}", crate::common::BIN, state.dir().display());
        terminal::answered(on_terminal(&line), answer)
    };
    let (status, text) = ask("n\n", "gateway remove lab-2");
    assert!(
        status == Some(1)
            && text.contains("Remove gateway lab-2")
            && text.contains("not confirmed"),
        "{text}"
    );
    assert_eq!(ask("\n", "gateway revoke lab-2").0, Some(1));
    assert_eq!(state.json(&["gateway", "show", "lab-2"])["certificates"][0]["state"], "active");
    let (status, text) = ask("", "gateway revoke --yes lab-2");
    assert!(status == Some(0) && !text.contains("[y/N]"), "{text}");
    let (status, text) = ask("y\n", "gateway remove lab-2");
    assert!(status == Some(0) && text.contains("removed lab-2"), "{text}");
}
