//! SIGHUP takes up new settings, or keeps the old ones.

use std::process::Command;

use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha1::Digest;
use sha1::Sha1;

use crate::common::TestServer;
use crate::common::TestState;
use crate::common::edit;
use crate::common::nginx_headers;

fn script(server: &TestServer, state: &TestState) -> String {
    assert_eq!(server.get(state, "/boot/ipxe").status, 302);
    server.get(state, "/g/1/boot.ipxe").text()
}

#[test]
fn new_settings_count_from_the_next_request_on() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 10);
    let server = TestServer::start(&state);
    assert!(!script(&server, &state).contains("public_ack_url"));
    let config = state.dir().join("farmgate.toml");
    edit(&config, |text| format!("public-url = \"https://public.example.org\"\n{text}"));
    server.signal(Signal::HUP);
    server.wait_for_log("reloaded");
    let text = script(&server, &state);
    assert!(text.contains("\nset ack_url https://127.0.0.1:8443/boot/ack/"), "{text}");
    assert!(text.contains("\nset public_ack_url https://public.example.org/boot/ack/"), "{text}");
}

#[test]
fn settings_that_would_keep_gateways_out_are_not_taken_up() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 10);
    let server = TestServer::start(&state);
    let config = state.dir().join("farmgate.toml");
    let right = std::fs::read_to_string(&config).unwrap();
    for (wrong, says) in [
        ("url = ", "farmgate.toml"),
        ("surprise = 1\nurl = \"https://127.0.0.1:8443\"\n", "surprise"),
        // A name that the server's certificate does not have.
        ("url = \"https://other.example.org\"\n", "does not name the host"),
    ] {
        std::fs::write(&config, wrong).unwrap();
        let error = state.fails(&["serve", "--check"]);
        assert!(error.contains(says), "{error}");
        server.signal(Signal::HUP);
        let line = server.wait_for_log("the old settings stay in force");
        assert!(line.contains(says), "{line}");
        // The commands that the test uses would stumble over it too.
        std::fs::write(&config, &right).unwrap();
        assert!(script(&server, &state).contains("set ack_url https://127.0.0.1:8443/"));
    }
    state.ok(&["serve", "--check"]);
    server.signal(Signal::HUP);
    server.wait_for_log("reloaded");
}

/// The way out that the message names.
#[test]
fn pki_renew_makes_the_certificate_fit_the_url() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 10);
    let server = TestServer::start(&state);
    let key = std::fs::read(state.dir().join("pki/server.key")).unwrap();
    edit(&state.dir().join("farmgate.toml"), |text| text.replace("//127.0.0.1", "//new.example"));
    assert!(state.fails(&["serve", "--check"]).contains("farmgate pki renew"));
    let renewed = state.json(&["pki", "renew", "--san", "192.0.2.7"]);
    let names = ["new.example", "127.0.0.1", "192.0.2.7"];
    assert_eq!(renewed["names"], serde_json::json!(names));
    state.ok(&["serve", "--check"]);
    server.signal(Signal::HUP);
    server.wait_for_log("reloaded");
    // The old name, which is on media in the field, still works.
    assert!(script(&server, &state).contains("set ack_url https://new.example:8443/"));
    assert_eq!(key, std::fs::read(state.dir().join("pki/server.key")).unwrap());
}

/// nginx would refuse every gateway, and nobody would know why.
#[test]
fn a_crl_that_ran_out_is_reported_and_mended() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 10);
    let (index, config) = (state.dir().join("index.txt"), state.dir().join("crl.cnf"));
    std::fs::write(&index, "").unwrap();
    let lines =
        format!("[ca]\ndefault_ca=x\n[x]\ndefault_md=sha256\ndatabase={}\n", index.display());
    std::fs::write(&config, lines).unwrap();
    let openssl = Command::new("openssl")
        .args(["ca", "-gencrl", "-crl_lastupdate", "20200101000000Z"])
        .args(["-crl_nextupdate", "20200201000000Z", "-config"])
        .arg(&config)
        .arg("-cert")
        .arg(state.dir().join("pki/ca.crt"))
        .arg("-keyfile")
        .arg(state.dir().join("pki/ca.key"))
        .arg("-out")
        .arg(state.dir().join("pki/crl.pem"))
        .status();
    assert!(openssl.expect("openssl is needed for this test").success());
    let error = state.fails(&["serve", "--check"]);
    assert!(error.contains("ran out on 2020-02-01") && error.contains("pki renew"), "{error}");
    // It serves all the same: through own TLS gateways can boot.
    let server = TestServer::start(&state);
    assert_eq!(server.get(&state, "/boot/ipxe").status, 302);
    state.ok(&["pki", "renew"]);
    state.ok(&["serve", "--check"]);
}

/// A gateway's certificate is no secret: TLS 1.2 shows it to the whole network. Behind an
/// nginx that lost the lines about certificates, a client could send them itself.
#[test]
fn without_its_mark_nginx_is_not_believed() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 10);
    state.set_listen("proxy-mark = true");
    state.ok(&["gateway", "add", "lab-2"]);
    let server = TestServer::start(&state);
    let mark = |gateway: &str| {
        let (certificate, _) = state.credentials(gateway);
        let der = CertificateDer::from_pem_file(certificate).unwrap();
        format!("X_Farmgate_Proxy: {}\r\n", hex::encode(Sha1::digest(&der)))
    };
    let headers = nginx_headers(&state.credentials("lab-1").0);
    let boot = |headers: &str| server.get_unix("/boot/ipxe", headers).status;
    assert_eq!(boot(&headers), 403);
    server.wait_for_log("nginx does not have the configuration");
    assert_eq!(boot(&format!("{headers}{}", mark("lab-1"))), 302);
    // lab-2 used to be lab-1 where only the line with the certificate was lost.
    assert_eq!(boot(&format!("{headers}{}", mark("lab-2"))), 403);
    assert_eq!(boot(&format!("{headers}X_Farmgate_Proxy: 1\r\n")), 403);
    assert_eq!(boot(&format!("{headers}{0}{0}", mark("lab-1"))), 403);
    // With no other header, nobody is let in either.
    assert_eq!(boot(&mark("lab-1")), 403);
}
