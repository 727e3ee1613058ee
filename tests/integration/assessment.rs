use std::io::Read;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use crate::common::BIN;
use crate::common::Reply;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::request;
use crate::common::setting;
use crate::common::setting_path;

/// Where the next boot is sent.
fn boot(server: &TestServer, state: &TestState) -> String {
    let reply = server.get(state, "/boot/ipxe");
    assert_eq!(reply.status, 302);
    reply.header("location").unwrap().to_owned()
}

fn ack_path(server: &TestServer, state: &TestState, script: &str) -> String {
    let script = server.get(state, script).text();
    setting_path(&script, "ack_url").expect("no ack_url in the prelude")
}

/// As the booted system asks: without a client certificate.
fn ask(server: &TestServer, method: &str, path: &str) -> Reply {
    let stream = UnixStream::connect(&server.unix).unwrap();
    request(stream, method, path, "").unwrap()
}

#[test]
fn a_generation_that_never_acknowledges_is_left_after_its_tries() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 10);
    let server = TestServer::start(&state);
    assert_eq!(boot(&server, &state), "/g/1/boot.ipxe");
    let ack = ack_path(&server, &state, "/g/1/boot.ipxe");
    assert_eq!(ask(&server, "POST", &ack).status, 200);
    server.wait_for_log("acknowledged gateway=lab-1 generation=1");

    state.publish("lab-1", 20);
    for _ in 0..3 {
        assert_eq!(boot(&server, &state), "/g/2/boot.ipxe");
    }
    let late = ack_path(&server, &state, "/g/2/boot.ipxe");
    assert_eq!(boot(&server, &state), "/g/1/boot.ipxe");
    server.wait_for_log("generation 2 is bad: 3 boots, none acknowledged");
    let shown = state.ok(&["generations", "lab-1"]);
    assert!(shown.contains("the next boot gets generation 1: generation 2 is bad"), "{shown}");

    // It survives a restart, and a late word counts all the same.
    drop(server);
    let server = TestServer::start(&state);
    assert_eq!(boot(&server, &state), "/g/1/boot.ipxe");
    assert_eq!(ask(&server, "GET", &late).status, 200);
    assert_eq!(boot(&server, &state), "/g/2/boot.ipxe");
}

#[test]
fn only_the_token_of_a_recent_boot_acknowledges_and_may_be_repeated() {
    let state = TestState::with_gateway();
    state.ok(&["gateway", "add", "lab-2"]);
    state.publish("lab-1", 10);
    state.publish("lab-2", 10);
    let server = TestServer::start(&state);
    boot(&server, &state);
    let ack = ack_path(&server, &state, "/g/1/boot.ipxe");
    let other_digit = if ack.ends_with('0') { '1' } else { '0' };
    let wrong = format!("{}{other_digit}", &ack[..ack.len() - 1]);
    let foreign = ack.replace("/boot/ack/lab-1-", "/boot/ack/lab-2-");
    for path in [&*wrong, &*foreign, "/boot/ack/x", "/boot/ack/..", "/boot/ack/%00.a.b"] {
        assert_eq!(ask(&server, "GET", path).status, 404, "{path}");
    }
    assert_eq!(ask(&server, "HEAD", &ack).status, 405);
    assert_eq!(state.json(&["generations", "lab-1"])["generations"][0]["good"], false);
    for _ in 0..2 {
        assert_eq!(ask(&server, "GET", &ack).status, 200);
    }
    assert_eq!(state.json(&["generations", "lab-1"])["generations"][0]["good"], true);
    // Too many boots ago. The one that was acknowledged is remembered for what it proved.
    boot(&server, &state);
    let forgotten = ack_path(&server, &state, "/g/1/boot.ipxe");
    (0..64).for_each(|_| drop(boot(&server, &state)));
    assert_eq!(ask(&server, "GET", &forgotten).status, 404);
    assert_eq!(ask(&server, "GET", &ack).status, 200);
    let recent = ack_path(&server, &state, "/g/1/boot.ipxe");
    assert_eq!(ask(&server, "GET", &recent).status, 200);
}

#[test]
fn pins_and_gateways_that_never_acknowledge() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 10);
    state.publish("lab-1", 20);
    let server = TestServer::start(&state);
    assert!(state.fails(&["release", "lab-1"]).contains("has no pin"));
    state.ok(&["pin", "lab-1", "1"]);
    (0..4).for_each(|_| assert_eq!(boot(&server, &state), "/g/1/boot.ipxe"));
    assert!(state.fails(&["pin", "lab-1", "7"]).contains("no generation 7"));
    let said = state.ok(&["rollback", "lab-1", "2"]);
    assert!(said.contains("but lab-1 gets generation 1, which is pinned"), "{said}");
    state.ok(&["release", "lab-1"]);
    assert_eq!(boot(&server, &state), "/g/2/boot.ipxe");

    state.ok(&["gateway", "set", "lab-1", "--assessment", "none"]);
    (0..5).for_each(|_| assert_eq!(boot(&server, &state), "/g/2/boot.ipxe"));
    server.wait_for_log("not assessed");
}

#[test]
fn a_boot_that_cannot_be_recorded_gets_what_is_known_to_work() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 10);
    let server = TestServer::start(&state);
    boot(&server, &state);
    let ack = ack_path(&server, &state, "/g/1/boot.ipxe");
    assert_eq!(ask(&server, "GET", &ack).status, 200);
    state.publish("lab-1", 20);
    // No event can be written any more, as on a full disk: the lock is no file.
    let gateways = state.dir().join("store/gateways");
    let events = std::fs::read_dir(gateways).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(events.join("lock")).unwrap();
    std::fs::create_dir(events.join("lock")).unwrap();
    assert_eq!(boot(&server, &state), "/g/1/boot.ipxe");
    server.wait_for_log("could not be recorded");
    std::fs::remove_dir(events.join("lock")).unwrap();
    assert_eq!(boot(&server, &state), "/g/2/boot.ipxe");
}

#[test]
fn what_a_request_lists_stays_small() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 10);
    state.ok(&["gateway", "set", "lab-1", "--assessment", "none"]);
    let server = TestServer::start(&state);
    let mut stream = server.tls(&state, Some(state.credentials("lab-1")));
    for _ in 0..600 {
        use std::io::Write;
        stream.write_all(b"GET /boot/ipxe HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 302"));
    }
    let gateways = state.dir().join("store/gateways");
    let events = std::fs::read_dir(gateways).unwrap().next().unwrap().unwrap().path();
    let count = std::fs::read_dir(events).unwrap().count();
    assert!(count < 300, "{count} files");
    let generations = state.json(&["generations", "lab-1"]);
    // Of so many only the latest are remembered.
    assert_eq!(generations["generations"][0]["boots"], 64);
}

/// 500 rounds of publish, boot and acknowledge, with `kill -9` at odd moments.
#[test]
fn killed_at_any_moment_nothing_is_torn_lost_or_counted_back() {
    const ROUNDS: u64 = 500;
    let state = TestState::with_gateway();
    state.publish("lab-1", 100);
    state.ok(&["gateway", "set", "lab-1", "--assessment", "none"]);
    let credentials = state.credentials("lab-1");
    let folder = state.folder("f", &[("boot.ipxe", b"#!ipxe\nboot\n"), ("vmlinuz", &[7; 50_000])]);
    let mut server = TestServer::start(&state);
    // A fixed seed: what failed once can be run again.
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let (mut acknowledged, mut highest) = (Vec::new(), 1);
    for round in 0..ROUNDS {
        let publisher = (round % 5 == 0).then(|| {
            Command::new(BIN)
                .arg("--state")
                .arg(state.dir())
                .args(["publish", "--force", "lab-1"])
                .arg(&folder)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        });
        let killer = (round % 7 == 0).then(|| Duration::from_micros(random(8000)));
        let pid = server.pid();
        let client = || -> Option<(u64, String)> {
            let ask = |path: &str| {
                let stream = server.try_tls(&state, Some(credentials.clone()))?;
                request(stream, "GET", path, "").ok()
            };
            let location = ask("/boot/ipxe")?.header("location")?.to_owned();
            let script = String::from_utf8(ask(&location)?.body).ok()?;
            // Cut off by the kill, it may be any part of one.
            let url = setting(&script, "ack_url")?;
            let path = url.strip_prefix("https://127.0.0.1:8443")?;
            let number = location.split('/').nth(2)?.parse().ok()?;
            (ask(path)?.status == 200).then(|| (number, path.to_owned()))
        };
        let answered = std::thread::scope(|scope| {
            let client = scope.spawn(client);
            if let Some(after) = killer {
                std::thread::sleep(after);
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            }
            client.join().unwrap()
        });
        if let Some((number, path)) = answered {
            assert!(number >= highest, "went back from generation {highest} to {number}");
            highest = number;
            acknowledged.push((number, path));
        }
        if let Some(mut publisher) = publisher {
            std::thread::sleep(Duration::from_micros(random(20_000)));
            let _ = publisher.kill();
            publisher.wait().unwrap();
        }
        if killer.is_some() {
            drop(server);
            server = TestServer::start(&state);
        }
    }
    assert!(acknowledged.len() > 200, "only {} boots got through", acknowledged.len());
    let shown = state.json(&["generations", "lab-1"]);
    let good = |number: u64| {
        let rows = shown["generations"].as_array().unwrap();
        rows.iter().any(|row| row["generation"] == number && row["good"] == true)
    };
    for (number, _) in &acknowledged {
        assert!(good(*number), "the acknowledgement of generation {number} was lost");
    }
    // Every generation that can be served is whole.
    for row in shown["generations"].as_array().unwrap() {
        let path = format!("/g/{}/vmlinuz", row["generation"]);
        let reply = server.get(&state, &path);
        assert_eq!(reply.status, 200, "{path}");
        assert!(reply.body.len() == 100 || reply.body == [7; 50_000], "{path} is torn");
    }
}

#[test]
fn two_boots_at_once_are_both_served_and_both_counted() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 10);
    state.ok(&["gateway", "set", "lab-1", "--assessment", "none"]);
    let server = TestServer::start(&state);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..20).for_each(|_| drop(boot(&server, &state))));
        }
    });
    assert_eq!(state.json(&["generations", "lab-1"])["generations"][0]["boots"], 40);
}

/// Everything that was recorded so far, as if the clock had been a year ahead.
fn set_the_clock_back_a_year(state: &TestState) {
    const YEAR: u64 = 365 * 24 * 3600 * 1000;
    let gateways = state.dir().join("store/gateways");
    let home = std::fs::read_dir(gateways).unwrap().next().unwrap().unwrap().path();
    let entries = std::fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    let later = |name: &str| {
        let millis = u64::from_str_radix(&name.replace('-', "")[..12], 16).unwrap() + YEAR;
        let digits = format!("{millis:012x}");
        format!("{}-{}{}", &digits[..8], &digits[8..], &name[13..])
    };
    let names: Vec<_> =
        files.iter().map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    for path in files {
        let mut text = std::fs::read_to_string(&path).unwrap();
        for name in &names {
            text = text.replace(name.as_str(), &later(name));
        }
        let name = later(path.file_stem().unwrap().to_str().unwrap());
        std::fs::write(home.join(format!("{name}.json")), text).unwrap();
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_clock_that_is_set_back_a_year_changes_nothing() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 10);
    let server = TestServer::start(&state);
    boot(&server, &state);
    let ack = ack_path(&server, &state, "/g/1/boot.ipxe");
    assert_eq!(ask(&server, "GET", &ack).status, 200);
    drop(server);
    set_the_clock_back_a_year(&state);

    let server = TestServer::start(&state);
    assert_eq!(boot(&server, &state), "/g/1/boot.ipxe");
    state.publish("lab-1", 20);
    for _ in 0..3 {
        assert_eq!(boot(&server, &state), "/g/2/boot.ipxe");
    }
    assert_eq!(boot(&server, &state), "/g/1/boot.ipxe");
    state.ok(&["rollback", "lab-1", "2"]);
    assert_eq!(boot(&server, &state), "/g/2/boot.ipxe");
    let ack = ack_path(&server, &state, "/g/2/boot.ipxe");
    assert_eq!(ask(&server, "GET", &ack).status, 200);
    assert_eq!(state.json(&["generations", "lab-1"])["generations"][1]["good"], true);
}
