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
    let fails = TestState::fails as fn(&TestState, &[&str]) -> String;
    let at_length = TestState::fails_at_length as fn(&TestState, &[&str]) -> String;
    for (wrong, says, fails) in [
        ("url = ", "farmgate.toml", at_length),
        ("surprise = 1\nurl = \"https://127.0.0.1:8443\"\n", "surprise", at_length),
        // A name that the server's certificate does not have.
        ("url = \"https://other.example.org\"\n", "does not contain the host name", fails),
    ] {
        std::fs::write(&config, wrong).unwrap();
        let error = fails(&state, &["serve", "--check"]);
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
    assert!(error.contains("expired on 2020-02-01") && error.contains("pki renew"), "{error}");
    // It serves all the same: through own TLS gateways can boot.
    let server = TestServer::start(&state);
    assert_eq!(server.get(&state, "/boot/ipxe").status, 302);
    state.ok(&["pki", "renew"]);
    state.ok(&["serve", "--check"]);
}

/// The values of the header by which nginx was known before it had a secret, and now.
fn marks(state: &TestState, gateway: &str) -> [String; 2] {
    let (certificate, _) = state.credentials(gateway);
    let der = CertificateDer::from_pem_file(certificate).unwrap();
    let before = hex::encode(Sha1::digest(&der));
    let file = std::fs::read_to_string(state.dir().join("proxy-mark.conf")).unwrap_or_default();
    let now = format!("{} {before}", file.split('"').nth(1).unwrap_or_default());
    [before, now].map(|mark| format!("X_Farmgate_Proxy: {mark}\r\n"))
}

/// A gateway's certificate is no secret: TLS 1.2 shows it to the whole network. Behind an
/// nginx that lost the lines about certificates, a client could send them itself. And whoever
/// else reaches the socket used to be able to work out what nginx sends.
#[test]
fn without_its_mark_nginx_is_not_believed() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 10);
    state.set_listen("proxy-mark = true");
    state.ok(&["gateway", "add", "lab-2"]);
    let server = TestServer::start(&state);
    let headers = nginx_headers(&state.credentials("lab-1").0);
    let boot = |headers: &str| server.get_unix("/boot/ipxe", headers).status;
    assert_eq!(boot(&headers), 403);
    server.wait_for_log("nginx does not have the configuration");
    let [computed, mark] = marks(&state, "lab-1");
    assert_eq!(boot(&format!("{headers}{mark}")), 302);
    assert_eq!(boot(&format!("{headers}{computed}")), 403);
    // lab-2 used to be lab-1 where only the line with the certificate was lost.
    for other in marks(&state, "lab-2") {
        assert_eq!(boot(&format!("{headers}{other}")), 403);
    }
    assert_eq!(boot(&format!("{headers}X_Farmgate_Proxy: 1\r\n")), 403);
    assert_eq!(boot(&format!("{headers}{mark}{mark}")), 403);
    // With no other header, nobody is let in either.
    assert_eq!(boot(&mark), 403);

    drop(server);

    // Each host has its own, and all of them are for their owner alone.
    let store = state.folder("common", &[("x", b"")]);
    state.set_listen(&format!("proxy-mark = true\n[store]\nurl = \"file://{}\"", store.display()));
    let other = state.new_host();
    for state in [&state, &other] {
        let file = state.dir().join("proxy-mark.conf");
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
    let secret = |state: &TestState| std::fs::read(state.dir().join("proxy-mark.conf")).unwrap();
    assert_ne!(secret(&state), secret(&other));
}

/// A state of a version before has no secret. It gets one with the configuration that names it,
/// and no gateway is refused while nginx does not know it yet.
#[test]
fn an_older_state_goes_over_to_the_secret_when_nginx_does() {
    let state = TestState::quick();
    state.publish("lab-1", 10);
    state.set_listen("proxy-mark = true");
    let file = state.dir().join("proxy-mark.conf");
    std::fs::remove_file(&file).unwrap();
    let server = TestServer::start(&state);
    let headers = nginx_headers(&state.credentials("lab-1").0);
    let boot = |mark: &str| server.get_unix("/boot/ipxe", &format!("{headers}{mark}")).status;
    let [computed, _] = marks(&state, "lab-1");
    assert_eq!((boot(&computed), boot("")), (302, 403));

    // Somebody has only looked at it.
    let config = state.ok(&["nginx-config"]);
    assert!(config.contains(&format!("include \"{}\";", file.display())), "{config}");
    let secret = std::fs::read(&file).unwrap();
    assert_eq!((boot(&computed), boot("")), (302, 403));
    state.ok(&["nginx-config"]);
    assert_eq!(std::fs::read(&file).unwrap(), secret);

    let [computed, mark] = marks(&state, "lab-1");
    assert_eq!(boot(&mark), 302);
    // From now on nothing else counts, also after the next configuration.
    assert_eq!(boot(&computed), 403);
    state.ok(&["nginx-config"]);
    assert_eq!((boot(&computed), boot(&mark)), (403, 302));
    // A secret that cannot be read lets nobody in, and says what to do.
    std::fs::write(&file, "default \"x\";\n").unwrap();
    assert_eq!((boot(&computed), boot(&mark)), (500, 500));
    server.wait_for_log("proxy-mark.conf is damaged; remove it");
}
