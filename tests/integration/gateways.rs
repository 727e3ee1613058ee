use std::fs;
use std::path::Path;
use std::process::Command;

use farmgate::identity::Certificate;
use farmgate::identity::ClientVerifier;
use farmgate::identity::pki::read_crl;
use rustls::pki_types::UnixTime;

use crate::common::TestServer;
use crate::common::TestState;
use crate::common::request;

#[test]
fn a_name_is_given_once() {
    let state = TestState::with_gateway();
    let before = state.ok(&["gateway", "show", "lab-1"]);
    let error = state.fails(&["gateway", "add", "lab-1"]);
    assert!(error.contains("already") && error.contains("renew"), "{error}");
    assert_eq!(state.ok(&["gateway", "show", "lab-1"]), before);
    state.ok(&["gateway", "add", "lab-2"]);
    let list = state.json(&["gateway", "list"]);
    let names: Vec<_> = list.as_array().unwrap().iter().map(|row| &row["gateway"]).collect();
    assert_eq!(names, ["lab-1", "lab-2"]);
}

#[test]
fn certificates_have_the_right_usages() {
    for key_type in ["rsa2048", "p256"] {
        let state = TestState::with_init(&["--key-type", key_type]);
        state.ok(&["gateway", "add", "lab-1"]);
        let (client, _) = state.credentials("lab-1");
        let verifier = ClientVerifier::new(
            &Certificate::from_pem(&fs::read(state.dir().join("pki/ca.crt")).unwrap()).unwrap().der,
        )
        .unwrap();
        let client = Certificate::from_pem(&fs::read(client).unwrap()).unwrap();
        assert_eq!(client.subject, "CN=lab-1");
        verifier.verify(&client.der, UnixTime::now()).unwrap();
        // The server's certificate must not open the gateways' door.
        let chain = fs::read_to_string(state.dir().join("pki/server.crt")).unwrap();
        let server = pem::parse_many(chain).unwrap().remove(0).into_contents();
        assert!(verifier.verify(&server, UnixTime::now()).is_err());
    }
}

#[test]
fn renewal_keeps_the_generations_and_lets_both_certificates_in() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 100);
    let old = state.credentials("lab-1");
    state.ok(&["gateway", "renew", "lab-1"]);
    let new = state.credentials("lab-1");
    assert_ne!(old, new);
    let server = TestServer::start(&state);
    for credentials in [old.clone(), new.clone()] {
        let stream = server.tls(&state, Some(credentials));
        assert_eq!(request(stream, "GET", "/files/vmlinuz", "").unwrap().status, 200);
    }
    // The one that was replaced can be shut out alone.
    let fingerprint = old.0.file_stem().unwrap().to_str().unwrap();
    state.ok(&["gateway", "revoke", "lab-1", "--fingerprint", fingerprint]);
    for (credentials, status) in [(old, 403), (new, 200)] {
        let stream = server.tls(&state, Some(credentials));
        assert_eq!(request(stream, "GET", "/files/vmlinuz", "").unwrap().status, status);
    }
}

#[test]
fn revoked_certificates_are_on_the_crl_and_stay_there() {
    let state = TestState::with_gateway();
    let crl = || read_crl(&fs::read(state.dir().join("pki/crl.pem")).unwrap()).unwrap();
    assert_eq!((crl().0.len(), crl().1), (0, 1));
    state.ok(&["gateway", "revoke", "lab-1"]);
    assert_eq!((crl().0.len(), crl().1), (1, 2));
    // Once more changes nothing.
    state.ok(&["gateway", "revoke", "lab-1"]);
    assert_eq!((crl().0.len(), crl().1), (1, 2));
    state.ok(&["gateway", "add", "lab-2"]);
    state.ok(&["gateway", "remove", "lab-2"]);
    assert_eq!((crl().0.len(), crl().1), (2, 3));
    let error = state.fails(&["gateway", "show", "lab-2"]);
    assert!(error.contains("there is no gateway lab-2"), "{error}");
}

#[test]
fn a_removed_gateways_successor_inherits_nothing() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 100);
    let old = state.credentials("lab-1");
    let kept = tempfile::tempdir().unwrap();
    let copy = |from: &Path| {
        let to = kept.path().join(from.file_name().unwrap());
        fs::copy(from, &to).unwrap();
        to
    };
    let old = (copy(&old.0), copy(&old.1));
    state.ok(&["gateway", "remove", "lab-1"]);
    assert!(!state.dir().join("gateways/lab-1").exists());
    state.ok(&["gateway", "add", "lab-1"]);
    let server = TestServer::start(&state);
    assert_eq!(server.get(&state, "/boot/ipxe").status, 404);
    let stream = server.tls(&state, Some(old));
    assert_eq!(request(stream, "GET", "/boot/ipxe", "").unwrap().status, 403);
}

fn openssl(args: &[&str], dir: &Path) {
    let output = Command::new("openssl")
        .args(args)
        .current_dir(dir)
        .output()
        .expect("openssl is needed for this test: install the package openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_signing_request_gets_a_certificate_and_its_key_never_comes_here() {
    let state = TestState::new();
    let dir = tempfile::tempdir().unwrap();
    let request_args =
        ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=admin/O=evil"];
    openssl(&[&request_args[..], &["-keyout", "k.pem", "-out", "r.pem"]].concat(), dir.path());
    let csr = dir.path().join("r.pem");
    state.ok(&["gateway", "add", "lab-1", "--csr", csr.to_str().unwrap()]);
    let (certificate, key) = state.credentials("lab-1");
    assert!(!key.exists());
    // The request's own idea of a name is not taken over.
    let parsed = Certificate::from_pem(&fs::read(&certificate).unwrap()).unwrap();
    assert_eq!(parsed.subject, "CN=lab-1");
    state.publish("lab-1", 10);
    let server = TestServer::start(&state);
    let stream = server.tls(&state, Some((certificate, dir.path().join("k.pem"))));
    assert_eq!(request(stream, "GET", "/boot/ipxe", "").unwrap().status, 302);

    fs::write(&csr, "rubbish").unwrap();
    let error = state.fails(&["gateway", "add", "lab-2", "--csr", csr.to_str().unwrap()]);
    assert!(error.contains("r.pem"), "{error}");
    assert!(state.fails(&["gateway", "show", "lab-2"]).contains("no gateway"));
}

/// A certificate of the state's CA with the serial number `serial`.
fn with_serial(state: &TestState, dir: &Path, name: &str, serial: &str) -> String {
    let (key, csr, crt) =
        (format!("{name}.key"), format!("{name}.csr"), dir.join(format!("{name}.crt")));
    let subject = format!("/CN={name}");
    let request = ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", &subject];
    openssl(&[&request[..], &["-keyout", &key, "-out", &csr]].concat(), dir);
    fs::write(dir.join("ext"), "extendedKeyUsage=clientAuth\n").unwrap();
    let pki = |name: &str| state.dir().join("pki").join(name).to_str().unwrap().to_owned();
    let (ca, ca_key, out) = (pki("ca.crt"), pki("ca.key"), crt.to_str().unwrap());
    let sign = ["x509", "-req", "-in", &csr, "-CA", &ca, "-CAkey", &ca_key, "-days", "99"];
    let more = ["-set_serial", serial, "-extfile", "ext", "-out", out];
    openssl(&[&sign[..], &more].concat(), dir);
    out.to_owned()
}

/// Zero was one number in the record and another in the CRL: a revoked certificate came back,
/// and was listed anew each time.
#[test]
fn a_certificate_with_serial_number_zero_is_revoked_for_good() {
    let state = TestState::new();
    let dir = tempfile::tempdir().unwrap();
    for (name, serial) in [("zero", "0"), ("high", "128"), ("long", "0xff00000000000000000000")] {
        let certificate = with_serial(&state, dir.path(), name, serial);
        let add = ["gateway", "add", name, "--cert", &certificate];
        state.ok(&add);
        state.publish(name, 10);
        let server = TestServer::start(&state);
        let ask = || {
            let key = dir.path().join(format!("{name}.key"));
            let stream = server.tls(&state, Some((certificate.clone().into(), key)));
            request(stream, "GET", "/boot/ipxe", "").unwrap().status
        };
        assert_eq!(ask(), 302);
        for _ in 0..2 {
            state.ok(&["gateway", "revoke", name]);
            assert_eq!(ask(), 403);
        }
        state.ok(&["gateway", "remove", name]);
        assert!(state.fails(&add).contains("revoked"), "{serial}");
    }
    let crl = read_crl(&fs::read(state.dir().join("pki/crl.pem")).unwrap()).unwrap().0;
    let listed: Vec<_> = crl.iter().map(|entry| entry.serial.to_string()).collect();
    assert_eq!(listed, ["00", "80", "ff00000000000000000000"]);
    // So do others read it.
    let text = Command::new("openssl")
        .args(["crl", "-noout", "-text", "-in"])
        .arg(state.dir().join("pki/crl.pem"))
        .output()
        .unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert_eq!(text.matches("Serial Number: ").count(), 3, "{text}");
}

#[test]
fn serial_numbers_that_no_crl_can_tell_apart_are_refused() {
    let state = TestState::new();
    let dir = tempfile::tempdir().unwrap();
    let add = |name: &str, serial: &str| {
        let certificate = with_serial(&state, dir.path(), name, serial);
        state.run(&["gateway", "add", name, "--cert", &certificate])
    };
    let refused = |name: &str, serial: &str| {
        let output = add(name, serial);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(add("lab-1", "1").status.success());
    let error = refused("lab-2", "1");
    assert!(error.contains("gateway lab-1") && error.contains("issue a new one"), "{error}");
    let error = refused("lab-3", "-1");
    assert!(error.contains("negative (-01)"), "{error}");
    // One of its own is taken.
    assert!(add("lab-4", "2").status.success());
}

/// A record that an older version wrote has nothing for the number zero.
#[test]
fn a_record_with_a_serial_number_of_an_older_version_is_read() {
    let state = TestState::quick();
    let path = state.dir().join("gateways/lab-1/gateway.json");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    record["certificates"][0]["serial"] = "".into();
    fs::write(&path, record.to_string()).unwrap();
    assert_eq!(state.json(&["gateway", "show", "lab-1"])["certificates"][0]["serial"], "00");
    state.ok(&["gateway", "revoke", "lab-1"]);
    let crl = read_crl(&fs::read(state.dir().join("pki/crl.pem")).unwrap()).unwrap().0;
    assert_eq!(crl.len(), 1);
}

#[test]
fn only_a_certificate_that_would_be_let_in_is_taken_over() {
    let state = TestState::with_gateway();
    let other = TestState::with_gateway();
    let foreign = other.credentials("lab-1").0;
    let error = state.fails(&["gateway", "add", "lab-2", "--cert", foreign.to_str().unwrap()]);
    assert!(error.contains("not taken over"), "{error}");
    let own = state.credentials("lab-1").0;
    let error = state.fails(&["gateway", "add", "lab-2", "--cert", own.to_str().unwrap()]);
    assert!(error.contains("already belongs to gateway lab-1"), "{error}");

    let kept = tempfile::tempdir().unwrap();
    let copy = kept.path().join("lab-1.crt");
    fs::copy(own, &copy).unwrap();
    let add = ["gateway", "add", "lab-2", "--cert", copy.to_str().unwrap()];
    // As after a state was restored without this gateway.
    fs::remove_dir_all(state.dir().join("gateways/lab-1")).unwrap();
    state.ok(&add);
    // What was revoked once does not come back under another name.
    state.ok(&["gateway", "remove", "lab-2"]);
    assert!(state.fails(&add).contains("revoked"));
}
