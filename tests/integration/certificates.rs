//! Certificates of all kinds, and clocks that are wrong: who is let in, and what is refused before
//! it is on a medium.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::time::Instant;

use farmgate::identity::pki::Authority;
use farmgate::identity::pki::KeyType;
use farmgate::identity::pki::NO_END;
use farmgate::identity::pki::Validity;
use tempfile::TempDir;
use time::Duration;
use time::OffsetDateTime;

use crate::clock::shifted;
use crate::common::PATIENCE;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::edit;
use crate::common::free_port;
use crate::common::nginx_headers;
use crate::common::request;

/// A folder in which openssl works with a state's CA, as `ca.crt` and `ca.key`.
struct Openssl {
    dir: TempDir,
}

impl Openssl {
    fn new(state: &TestState) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["ca.crt", "ca.key"] {
            fs::copy(state.dir().join("pki").join(name), dir.path().join(name)).unwrap();
        }
        let text = "[req]\ndistinguished_name=dn\n[dn]\n\
                    [ca]\ndefault_ca=this\n[this]\ndatabase=index\ndefault_md=sha256\n";
        fs::write(dir.path().join("cnf"), text).unwrap();
        fs::write(dir.path().join("index"), "").unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    #[track_caller]
    fn run(&self, words: &str, more: &[&str]) {
        let output = Command::new("openssl")
            .current_dir(self.dir.path())
            .args(words.split_whitespace())
            .args(more)
            .output()
            .expect("openssl is needed for this test");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// `NAME.csr`, with a new key in `NAME.key`.
    #[track_caller]
    fn request(&self, name: &str, key: &str, more: &[&str]) -> String {
        self.run(
            &format!(
                "req -new -config cnf -newkey {key} -nodes -subj /CN=x -keyout {name}.key \
                 -out {name}.csr"
            ),
            more,
        );
        self.text(&format!("{name}.csr"))
    }

    /// `NAME.crt`, signed by `ISSUER.crt`.
    #[track_caller]
    fn sign(&self, name: &str, issuer: &str, extensions: &str, more: &str) -> String {
        self.request(name, "rsa:2048", &[]);
        fs::write(self.path("extensions"), extensions).unwrap();
        self.run(
            &format!(
                "x509 -req -in {name}.csr -CA {issuer}.crt -CAkey {issuer}.key -CAcreateserial \
                 -days 99 -extfile extensions -out {name}.crt {more}"
            ),
            &[],
        );
        self.text(&format!("{name}.crt"))
    }

    /// A self-signed CA.
    #[track_caller]
    fn ca(&self, name: &str, key: &str, more: &[&str]) -> String {
        let words = format!(
            "req -x509 -config cnf -newkey {key} -nodes -subj /CN={name} -days 99 \
             -keyout {name}.key -out {name}.crt"
        );
        self.run(&words, more);
        self.text(&format!("{name}.crt"))
    }

    /// X.509 version 1, as `openssl ca` makes it without extensions.
    fn v1(&self, name: &str, issuer: &str) -> String {
        let help = Command::new("openssl").args(["req", "-help"]).output().unwrap();
        let later = String::from_utf8_lossy(&help.stderr).contains("-x509v1");
        let by = [format!("{issuer}.crt"), format!("{issuer}.key")];
        let mut more = vec!["-CA", &by[0], "-CAkey", &by[1]];
        more.extend(later.then_some("-x509v1"));
        let path = self.ca(name, "rsa:2048", &more);
        let text = Command::new("openssl")
            .args(["x509", "-noout", "-text", "-in", &path])
            .output()
            .unwrap();
        assert!(String::from_utf8_lossy(&text.stdout).contains("Version: 1 "), "not of version 1");
        path
    }

    fn credentials(&self, name: &str) -> Option<(PathBuf, PathBuf)> {
        Some((self.path(&format!("{name}.crt")), self.path(&format!("{name}.key"))))
    }
}

/// A real nginx with the configuration that farmgate prints, in front of a server.
struct Nginx {
    child: Child,
    port: u16,
    _dir: TempDir,
}

impl Nginx {
    fn start(state: &TestState, server: &TestServer) -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let listen = format!("127.0.0.1:{port}");
        let unix = server.unix.to_str().unwrap();
        let block = state.ok(&["nginx-config", "--listen", &listen, "--unix", unix]);
        // Workers of another user could not enter the test's folder.
        let user = if nix::unistd::geteuid().is_root() { "user root root;" } else { "" };
        let prefix = dir.path().display();
        let text = format!(
            "daemon off; pid {prefix}/pid; error_log {prefix}/error.log info; {user} events {{}}\n\
             http {{ access_log off; client_body_temp_path {prefix}/a; proxy_temp_path {prefix}/b;\n\
             fastcgi_temp_path {prefix}/c; uwsgi_temp_path {prefix}/d; scgi_temp_path {prefix}/e;\n\
             {block} }}\n"
        );
        let config = dir.path().join("nginx.conf");
        fs::write(&config, text).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(dir.path()).arg("-c").arg(&config).envs(state.env.iter().cloned());
        let child = command.spawn().expect("nginx is needed for this test");
        let nginx = Self { child, port, _dir: dir };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < PATIENCE, "nginx does not listen");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::TERM,
        );
        let _ = self.child.wait();
    }
}

/// What a gateway is told at `/boot/ipxe`; `None` if TLS ends before.
fn asks(
    server: &TestServer,
    state: &TestState,
    credentials: Option<(PathBuf, PathBuf)>,
) -> Option<u16> {
    let stream = server.tls(state, credentials);
    request(stream, "GET", "/boot/ipxe", "").ok().map(|reply| reply.status)
}

/// A gateway was added and another revoked while the boot host's clock was a year ahead. The
/// certificate was then valid in a year, and nginx refused everybody for the CRL of the future.
#[test]
fn a_clock_that_was_ahead_or_is_behind_keeps_nobody_out() {
    let Some(ahead) = shifted("+366d") else { return };
    let mut state = TestState::new();
    state.env = ahead;
    for name in ["lab-1", "lab-2"] {
        state.ok(&["gateway", "add", name]);
        state.publish(name, 100);
    }
    state.ok(&["gateway", "revoke", "lab-2"]);
    let (lab_1, lab_2) = (state.credentials("lab-1"), state.credentials("lab-2"));
    for clock in ["+0d", "-366d", "+20000d"] {
        state.env = shifted(clock).unwrap();
        let mut server = TestServer::start(&state);
        assert_eq!(asks(&server, &state, Some(lab_1.clone())), Some(302), "{clock}");
        assert_eq!(asks(&server, &state, Some(lab_2.clone())), Some(403), "{clock}");
        let nginx = Nginx::start(&state, &server);
        server.tls_port = nginx.port;
        assert_eq!(asks(&server, &state, Some(lab_1.clone())), Some(302), "nginx, {clock}");
        assert_eq!(asks(&server, &state, Some(lab_2.clone())), Some(400), "nginx, {clock}");
    }
}

/// Certificates and CRLs of earlier versions begin when they were made. Nobody was told why no
/// gateway got in; the certificates were said to be at fault.
#[test]
fn a_clock_that_is_behind_is_named_as_the_cause() {
    let mut state = TestState::new();
    let pki = state.dir().join("pki");
    let read = |name| fs::read_to_string(pki.join(name)).unwrap();
    let authority = Authority::from_pem(&read("ca.crt"), &read("ca.key")).unwrap();
    let begin = OffsetDateTime::now_utc() - Duration::DAY;
    let validity = Validity { not_before: begin, not_after: NO_END };
    let old = authority.issue_client(&"lab-1".parse().unwrap(), KeyType::Rsa2048, validity);
    let openssl = Openssl::new(&state);
    fs::write(openssl.path("old.crt"), old.unwrap().certificate_pem).unwrap();
    state.ok(&["gateway", "add", "lab-1", "--cert", &openssl.text("old.crt")]);
    state.ok(&["serve", "--check"]);

    let doctor = |state: &TestState| {
        let output = state.run(&["--json", "doctor"]);
        let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let all = all.as_array().unwrap().clone();
        let errors = all.into_iter().filter(|finding| finding["verdict"] == "error");
        errors.map(|finding| finding.to_string()).collect::<Vec<_>>()
    };
    let Some(behind) = shifted("-366d") else { return };
    state.env = behind;
    let error = state.fails(&["serve", "--check"]);
    assert!(error.contains("this host's clock says") && error.contains("lab-1"), "{error}");
    let found = doctor(&state);
    assert!(found[0].contains("\"clock\"") && found[0].contains("lab-1"), "{found:#?}");
    state.env.clear();

    // As it was signed before.
    openssl.run("ca -gencrl -config cnf -cert ca.crt -keyfile ca.key -crldays 999 -out crl", &[]);
    fs::copy(openssl.path("crl"), pki.join("crl.pem")).unwrap();
    state.ok(&["serve", "--check"]);
    let warned = String::from_utf8(state.run(&["doctor"]).stdout).unwrap();
    assert!(warned.contains("nginx refuses the CRL"), "{warned}");
    state.env = shifted("-3d").unwrap();
    let error = state.fails(&["serve", "--check"]);
    assert!(error.contains("crl.pem, and nginx refuses every gateway,"), "{error}");
    let found = doctor(&state);
    assert!(found.iter().any(|f| f.contains("\"clock\"") && f.contains("crl.pem")), "{found:#?}");
    state.env.clear();
    state.ok(&["pki", "renew"]);
    state.ok(&["gateway", "renew", "lab-1"]);
    state.env = shifted("-366d").unwrap();
    state.ok(&["serve", "--check"]);
}

/// One gateway's certificate that begins tomorrow used to keep the whole host from a reload, and
/// to be among what keeps all gateways from booting.
#[test]
fn a_certificate_that_begins_later_is_the_affair_of_its_gateway_alone() {
    let mut state = TestState::with_gateway();
    let admin = state.dir().join("admin.sock");
    state.set_listen(&format!("admin = \"{}\"", admin.display()));
    let pki = state.dir().join("pki");
    let read = |name| fs::read_to_string(pki.join(name)).unwrap();
    let authority = Authority::from_pem(&read("ca.crt"), &read("ca.key")).unwrap();
    let begin = OffsetDateTime::now_utc() + Duration::DAY;
    let validity = Validity { not_before: begin, not_after: NO_END };
    let late = authority.issue_client(&"lab-2".parse().unwrap(), KeyType::Rsa2048, validity);
    let openssl = Openssl::new(&state);
    fs::write(openssl.path("late.crt"), late.unwrap().certificate_pem).unwrap();
    // The clock was ahead when it was added.
    let Some(ahead) = shifted("+2d") else { return };
    state.env = ahead;
    state.ok(&["gateway", "add", "lab-2", "--cert", &openssl.text("late.crt")]);
    state.env.clear();

    state.ok(&["serve", "--check"]);
    let server = TestServer::start(&state);
    assert!(state.admin("/metrics").text().contains("\nfarmgate_problems 0\n"));
    let ready = state.admin("/readyz");
    assert!(ready.status == 503 && ready.text().contains("certificate of lab-2"));
    drop(server);
    // With nobody else left, nobody boots.
    state.ok(&["gateway", "remove", "lab-1"]);
    assert!(state.fails(&["serve", "--check"]).contains("certificate of lab-2"));
}

/// valve-infra's are so. They were refused by `gateway add`, and by own TLS.
#[test]
fn certificates_of_version_1_are_let_in_through_both_doors() {
    let mut state = TestState::new();
    let openssl = Openssl::new(&state);
    let good = openssl.v1("good", "ca");
    state.ok(&["gateway", "add", "lab-1", "--cert", &good]);
    state.publish("lab-1", 100);
    let server = TestServer::start(&state);
    assert_eq!(asks(&server, &state, openssl.credentials("good")), Some(302));
    assert_eq!(server.get_unix("/boot/ipxe", &nginx_headers(Path::new(&good))).status, 302);

    // iPXE speaks TLS 1.2, others 1.3.
    let tls_13 = Command::new("curl")
        .args(["--silent", "--tlsv1.3", "--output", "/dev/null", "--write-out", "%{http_code}"])
        .args(["--cacert", &openssl.text("ca.crt"), "--cert", &good])
        .args(["--key", &openssl.text("good.key"), "--noproxy", "*"])
        .arg(format!("https://127.0.0.1:{}/boot/ipxe", server.tls_port))
        .output()
        .expect("curl is needed for this test");
    assert_eq!(String::from_utf8_lossy(&tls_13.stdout), "302", "{tls_13:?}");

    // Of another CA of the same name, or with another's key.
    openssl.ca("other", "rsa:2048", &["-addext", "basicConstraints=CA:true"]);
    let subject = Command::new("openssl")
        .args(["x509", "-noout", "-subject", "-nameopt", "compat", "-in", &openssl.text("ca.crt")])
        .output()
        .unwrap();
    let subject = String::from_utf8(subject.stdout).unwrap();
    let subject = subject.trim().trim_start_matches("subject=").trim();
    openssl.run(
        "req -x509 -config cnf -newkey rsa:2048 -nodes -days 99 -keyout twin.key -out twin.crt",
        &["-subj", subject, "-addext", "basicConstraints=CA:true"],
    );
    for issuer in ["other", "twin"] {
        let forged = openssl.v1("forged", issuer);
        let error = state.fails(&["gateway", "add", "lab-2", "--cert", &forged]);
        assert!(error.contains("would not be let in"), "{error}");
        assert_eq!(asks(&server, &state, openssl.credentials("forged")), None, "{issuer}");
        let headers = nginx_headers(&openssl.path("forged.crt"));
        assert_eq!(server.get_unix("/boot/ipxe", &headers).status, 403, "{issuer}");
    }
    let stolen = (openssl.path("good.crt"), openssl.path("forged.key"));
    assert_eq!(asks(&server, &state, Some(stolen)), None);

    state.ok(&["gateway", "revoke", "lab-1"]);
    assert_eq!(asks(&server, &state, openssl.credentials("good")), Some(403));
    drop(server);
    // It ends after 99 days.
    let Some(later) = shifted("+200d") else { return };
    state.env = later;
    let server = TestServer::start(&state);
    assert_eq!(asks(&server, &state, openssl.credentials("good")), None);
    assert_eq!(server.get_unix("/boot/ipxe", &nginx_headers(Path::new(&good))).status, 403);
}

/// Only the key of a request counts: others' extensions were a reason to refuse it.
#[test]
fn requests_with_extensions_of_others() {
    let state = TestState::new();
    let openssl = Openssl::new(&state);
    for (number, extension) in [
        "subjectKeyIdentifier=hash",
        "1.3.6.1.4.1.311.20.2=ASN1:BMPSTRING:Machine",
        "certificatePolicies=1.2.3.4",
        "subjectAltName=RID:1.2.3.4",
        "nameConstraints=critical,permitted;DNS:example.org",
        "extendedKeyUsage=1.3.6.1.4.1.311.20.2.2",
    ]
    .into_iter()
    .enumerate()
    {
        let request = openssl.request("good", "rsa:2048", &["-addext", extension]);
        let name = format!("lab-{number}");
        state.ok(&["gateway", "add", &name, "--csr", &request]);
    }
    // A signature that is not its own key's.
    let request = openssl.request("bad", "rsa:2048", &[]);
    let mut der = pem::parse(fs::read(&request).unwrap()).unwrap().into_contents();
    *der.last_mut().unwrap() ^= 1;
    fs::write(&request, pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", der))).unwrap();
    let error = state.fails(&["gateway", "add", "bad", "--csr", &request]);
    assert!(error.contains("signature"), "{error}");
}

/// Each of these was accepted, put on media, and dead.
#[test]
fn what_no_gateway_could_boot_with_is_refused() {
    let state = TestState::with_gateway();
    let openssl = Openssl::new(&state);
    let p256 = TestState::quick();
    let p256_openssl = Openssl::new(&p256);
    let ec = |curve| format!("ec -pkeyopt ec_paramgen_curve:{curve}");
    for (state, openssl, key, reason) in [
        (&state, &openssl, "ed25519".to_owned(), "Ed25519"),
        (&state, &openssl, ec("secp384r1"), "secp384r1"),
        (&state, &openssl, ec("P-256"), "the CA signs with RSA"),
        (&p256, &p256_openssl, "rsa:2048".to_owned(), "the CA signs with ECDSA P-256"),
    ] {
        let request = openssl.request("bad", &key, &[]);
        for verb in ["add", "renew"] {
            let name = if verb == "add" { "lab-2" } else { "lab-1" };
            let error = state.fails(&["gateway", verb, name, "--csr", &request]);
            assert!(error.contains(reason), "{error}");
        }
    }
    let request = p256_openssl.request("good", &ec("P-256"), &[]);
    p256.ok(&["gateway", "add", "lab-2", "--csr", &request]);

    // The configuration says another kind than the CA.
    let configured = |key_type: &str| {
        edit(&state.dir().join("farmgate.toml"), |text| {
            let (before, rest) = text.split_once("key-type = \"").unwrap();
            let (_, after) = rest.split_once('"').unwrap();
            format!("{before}key-type = \"{key_type}\"{after}")
        });
    };
    configured("p256");
    for command in [&["gateway", "add", "lab-3"][..], &["gateway", "renew", "lab-1"]] {
        let error = state.fails(command);
        assert!(error.contains("`key-type` is p256"), "{error}");
    }
    fs::remove_file(state.dir().join("pki/server.key")).unwrap();
    assert!(state.fails(&["pki", "renew"]).contains("`key-type` is p256"));
    configured("rsa2048");
    state.ok(&["pki", "renew"]);
    state.ok(&["gateway", "add", "lab-3"]);

    let use_of = "extendedKeyUsage=clientAuth";
    let pss = openssl.sign("pss", "ca", use_of, "-sigopt rsa_padding_mode:pss");
    let error = state.fails(&["gateway", "add", "lab-4", "--cert", &pss]);
    assert!(error.contains("RSASSA-PSS"), "{error}");
    let good = openssl.sign("good", "ca", use_of, "");
    state.ok(&["gateway", "add", "lab-4", "--cert", &good]);

    // Before an iPXE is looked for.
    let out = openssl.text("base.iso");
    let base = |ca: &str| {
        let url = "https://boot.example.org";
        let nowhere = openssl.text("nowhere");
        state.fails(&["iso", "base", "--ca", ca, "--url", url, "--ipxe", &nowhere, "-o", &out])
    };
    let bad = openssl.ca("bad-ca", "rsa:2048", &["-addext", "keyUsage=keyCertSign,cRLSign"]);
    let error = base(&bad);
    assert!(
        error.contains("no gateway could have this CA") && error.contains("CA:true"),
        "{error}"
    );
    let good = openssl.ca("good-ca", "rsa:2048", &["-addext", "basicConstraints=CA:true"]);
    assert!(!base(&good).contains("no gateway could"));
    openssl.run("x509 -in good-ca.crt -signkey good-ca.key -days -1 -out ended.crt", &[]);
    assert!(base(&openssl.text("ended.crt")).contains("it expired on"));
}

/// `serve --check` and doctor judged the first certificate alone: without the root all was said to
/// be well, and with an intermediate, which boots, nothing.
#[test]
fn a_server_chain_is_judged_as_a_whole() {
    let state = TestState::new();
    let openssl = Openssl::new(&state);
    let ca = "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\n";
    let server = "extendedKeyUsage=serverAuth\nsubjectAltName=IP:127.0.0.1\n";
    let root = openssl.ca("root", "rsa:2048", &["-addext", "basicConstraints=critical,CA:true"]);
    let middle = openssl.sign("middle", "root", ca, "");
    let leaf = openssl.sign("leaf", "middle", server, "");
    let pki = state.dir().join("pki");
    let own = fs::read_to_string(pki.join("server.crt")).unwrap();
    let alone = own.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
    fs::write(pki.join("server.crt"), alone).unwrap();
    let error = state.fails(&["serve", "--check"]);
    assert!(error.contains("the CA itself is missing in the chain"), "{error}");
    let found = String::from_utf8(state.run(&["doctor"]).stdout).unwrap();
    assert!(found.contains("the CA itself is missing in the chain"), "{found}");
    fs::write(pki.join("server.crt"), own).unwrap();
    state.ok(&["serve", "--check"]);

    let read = |path: &str| fs::read_to_string(path).unwrap();
    let write = |name: &str, text: &str| fs::write(pki.join(name), text).unwrap();
    write("ca.crt", &read(&root));
    write("ca.key", &read(&openssl.text("root.key")));
    write("server.key", &read(&openssl.text("leaf.key")));
    write("server.crt", &[read(&leaf), read(&middle), read(&root)].concat());
    state.ok(&["serve", "--check"]);
    write("server.crt", &[read(&leaf), read(&middle)].concat());
    let error = state.fails(&["serve", "--check"]);
    assert!(error.contains("the CA itself is missing in the chain"), "{error}");
    write("server.crt", &[read(&leaf), read(&root), read(&middle)].concat());
    let error = state.fails(&["serve", "--check"]);
    assert!(error.contains("is not the issuer"), "{error}");
}

/// It was 2056, which a clock of 1980 is past.
#[test]
fn what_is_issued_has_no_end_and_an_old_ca_is_not_promised_more_than_it_has() {
    let state = TestState::with_gateway();
    let (client, _) = state.credentials("lab-1");
    let pki = state.dir().join("pki");
    let dates = |path: &Path| {
        let mut openssl = Command::new("openssl");
        let output = openssl.args(["x509", "-noout", "-dates", "-in"]).arg(path).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for path in [&client, &pki.join("ca.crt"), &pki.join("server.crt")] {
        let dates = dates(path);
        assert!(dates.contains("notBefore=Jan  1 00:00:00 1970 GMT"), "{dates}");
        assert!(dates.contains("notAfter=Dec 31 23:59:59 9999 GMT"), "{dates}");
    }
    let found = String::from_utf8(state.run(&["doctor"]).stdout).unwrap();
    assert!(!found.contains("the CA ends on"), "{found}");

    let openssl = Openssl::new(&state);
    let old = openssl.ca("old", "rsa:2048", &["-addext", "basicConstraints=CA:true"]);
    fs::copy(&old, pki.join("ca.crt")).unwrap();
    fs::copy(openssl.path("old.key"), pki.join("ca.key")).unwrap();
    state.ok(&["pki", "renew"]);
    let end = |path: &Path| dates(path).lines().last().unwrap().to_owned();
    assert_eq!(end(&pki.join("server.crt")), end(&pki.join("ca.crt")));
    let found = String::from_utf8(state.run(&["doctor"]).stdout).unwrap();
    assert!(found.contains("the CA ends on") && found.contains("battery"), "{found}");
}

/// `--days` is for media that are to die.
#[test]
fn a_certificate_may_be_given_an_end() {
    let state = TestState::quick();
    state.ok(&["gateway", "add", "lab-2", "--days", "10"]);
    let shown = state.json(&["gateway", "show", "lab-2"]);
    let end = shown["certificates"][0]["not_after"]
        .as_str()
        .or(shown["certificates"][0]["not-after"].as_str());
    let year = OffsetDateTime::now_utc().year();
    let end: i32 = end.unwrap()[..4].parse().unwrap();
    assert!(end == year || end == year + 1, "{end}");
}
