//! What is left to whoever had a certificate before it was revoked.

use std::path::Path;

use crate::common::TestServer;
use crate::common::TestState;
use crate::common::setting_path;

/// The paths for acknowledgement and secrets of a boot that the gateway's newest certificate
/// begins.
fn begin_boot(server: &TestServer, state: &TestState) -> (String, String) {
    let reply = server.get(state, "/boot/ipxe");
    let script = server.get(state, reply.header("location").unwrap()).text();
    let path = |name| setting_path(&script, name).unwrap();
    (path("ack_url"), path("secrets_url"))
}

fn publish(state: &TestState, secrets: &[u8]) {
    let files = [("boot.ipxe", &b"#!ipxe\nboot\n"[..]), ("secrets", secrets)];
    let folder = state.folder("published", &files);
    state.ok(&["publish", "lab-1", folder.to_str().unwrap()]);
}

fn newest_certificate(state: &TestState) -> String {
    let (certificate, _) = state.credentials("lab-1");
    certificate.file_stem().unwrap().to_str().unwrap().to_owned()
}

fn is_good(state: &TestState) -> bool {
    state.json(&["generations", "lab-1"])["generations"][0]["good"].as_bool().unwrap()
}

/// Rewrites each event that says *booted*.
fn each_boot(dir: &Path, edit: impl Fn(&Path, String)) {
    let events = dir.join("store/gateways");
    let gateway = std::fs::read_dir(events).unwrap().next().unwrap().unwrap().path();
    let mut boots = 0;
    for entry in std::fs::read_dir(gateway).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if text.contains(r#""kind":"booted""#) {
            edit(&path, text);
            boots += 1;
        }
    }
    assert!(boots > 0);
}

/// A thief's word used to make a generation good: the token outlived the certificate.
#[test]
fn its_boots_cannot_be_acknowledged() {
    let state = TestState::quick();
    publish(&state, b"a");
    let server = TestServer::start(&state);
    let stolen = newest_certificate(&state);
    let (ack, secrets) = begin_boot(&server, &state);
    state.ok(&["gateway", "renew", "lab-1"]);
    state.ok(&["gateway", "revoke", "lab-1", "--fingerprint", &stolen]);
    for _ in 0..2 {
        let reply = server.get_unix(&ack, "");
        assert_eq!((reply.status, reply.text()), (403, "403 Forbidden\n".to_owned()));
    }
    assert_eq!(server.get_unix(&secrets, "").status, 404);
    assert!(!is_good(&state));
    // No request waits for the flight recorder, so its line may come a moment later.
    let refused = || state.ok(&["status", "lab-1"]).contains("acknowledgement refused");
    assert!((0..100).any(|_| refused()), "{}", state.ok(&["status", "lab-1"]));

    // The certificate that took its place acknowledges its own boot.
    let (ack, secrets) = begin_boot(&server, &state);
    assert_eq!(server.get_unix(&secrets, "").status, 200);
    assert_eq!(server.get_unix(&ack, "").status, 200);
    assert!(is_good(&state));
}

/// Renewing shuts nobody out: a machine with the old medium may be on its way.
#[test]
fn a_retiring_certificate_still_acknowledges() {
    let state = TestState::quick();
    publish(&state, b"a");
    let server = TestServer::start(&state);
    let (ack, _) = begin_boot(&server, &state);
    state.ok(&["gateway", "renew", "lab-1"]);
    assert_eq!(server.get_unix(&ack, "").status, 200);
    assert!(is_good(&state));
}

/// A thief can also ask for the script of a boot that another certificate of the gateway began.
#[test]
fn a_token_that_it_got_is_void_whoever_began_the_boot() {
    let state = TestState::quick();
    publish(&state, b"a");
    let server = TestServer::start(&state);
    let stolen = (newest_certificate(&state), state.credentials("lab-1"));
    state.ok(&["gateway", "renew", "lab-1"]);
    let (own, _) = begin_boot(&server, &state);
    let stream = server.tls(&state, Some(stolen.1));
    let script = crate::common::request(stream, "GET", "/g/1/boot.ipxe", "").unwrap().text();
    let copied = setting_path(&script, "ack_url").unwrap();
    state.ok(&["gateway", "revoke", "lab-1", "--fingerprint", &stolen.0]);
    assert_eq!(server.get_unix(&copied, "").status, 403);
    assert!(!is_good(&state));
    assert_eq!(server.get_unix(&own, "").status, 200);
}

/// Events of version 0.1 do not name the certificate; a token does.
#[test]
fn a_boot_that_was_recorded_without_its_certificate_goes_by_its_token() {
    let state = TestState::quick();
    publish(&state, b"a");
    let server = TestServer::start(&state);
    let old = newest_certificate(&state);
    let (revoked, _) = begin_boot(&server, &state);
    state.ok(&["gateway", "renew", "lab-1"]);
    let (good, _) = begin_boot(&server, &state);
    drop(server);
    each_boot(&state.dir(), |path, text| {
        let (before, rest) = text.split_once(r#","certificate":""#).expect("no certificate");
        std::fs::write(path, format!("{before}{}", rest.split_once('"').unwrap().1)).unwrap();
    });
    state.ok(&["gateway", "revoke", "lab-1", "--fingerprint", &old]);
    let server = TestServer::start(&state);
    assert_eq!(server.get_unix(&revoked, "").status, 403);
    assert_eq!(server.get_unix(&good, "").status, 200);
}

/// A boot host that has not heard of the boot goes by the token alone.
#[test]
fn another_boot_host_refuses_it_too() {
    let a = TestState::quick();
    publish(&a, b"a");
    let server = TestServer::start(&a);
    let old = newest_certificate(&a);
    let (revoked, _) = begin_boot(&server, &a);
    a.ok(&["gateway", "renew", "lab-1"]);
    let (good, _) = begin_boot(&server, &a);
    drop(server);
    each_boot(&a.dir(), |path, _| std::fs::remove_file(path).unwrap());
    let common = a.folder("common", &[]);
    std::fs::create_dir(&common).unwrap();
    a.set_listen(&format!("[store]\nurl = \"file://{}\"", common.display()));
    a.ok(&["gateway", "revoke", "lab-1", "--fingerprint", &old]);
    a.ok(&["store", "sync"]);
    let b = a.new_host();
    b.ok(&["store", "sync"]);
    let server = TestServer::start(&b);
    assert_eq!(server.get_unix(&revoked, "").status, 403);
    assert_eq!(server.get_unix(&good, "").status, 200);
}
