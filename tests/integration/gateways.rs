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

/// A fleet of two kinds.
fn groups() -> TestState {
    let state = TestState::with_init(&["--key-type", "p256"]);
    for (name, group) in [("lab-10", "debian"), ("lab-2", "debian"), ("rack-1", "fedora")] {
        state.ok(&["gateway", "add", name, "--group", group]);
    }
    state.ok(&["gateway", "add", "alone"]);
    state
}

#[test]
fn a_group_and_labels_are_set_shown_and_taken_away() {
    let state = TestState::quick();
    let path = state.dir().join("gateways/lab-1/gateway.json");
    let before = fs::read(&path).unwrap();
    assert_eq!(state.json(&["gateway", "show", "lab-1"])["group"], serde_json::Value::Null);
    let set = ["gateway", "set", "lab-1", "--group", "debian", "--label", "site=Grenoble, rack 4"];
    assert!(state.ok(&set).contains("group       debian"));
    let shown = state.json(&["gateway", "show", "lab-1"]);
    assert_eq!(shown["group"], "debian");
    assert_eq!(shown["labels"], serde_json::json!({"site": "Grenoble, rack 4"}));
    assert!(state.ok(&["gateway", "list"]).contains("debian"));
    let status = &state.json(&["status"])[0];
    assert_eq!(
        (&status["group"], &status["labels"]["site"]),
        (&shown["group"], &shown["labels"]["site"])
    );
    // Nothing else changes with it, and without it the record is byte for byte as it was.
    assert_eq!(shown["assessment"], "default");
    state.ok(&["gateway", "set", "lab-1", "--no-group", "--no-label", "site"]);
    assert_eq!(fs::read(&path).unwrap(), before);
    for wrong in [
        &["--group", "a b"][..],
        &["--group", "all"],
        &["--label", "site"],
        &["--label", "site=\u{1b}[2J"],
        &["--group", "a", "--no-group"],
        &[],
    ] {
        let output = state.run(&[&["gateway", "set", "lab-1"], wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {output:?}");
    }
}

#[test]
fn a_group_stands_wherever_a_name_does() {
    let state = groups();
    let folder = state.folder("f", &[("boot.ipxe", b"#!ipxe\nboot\n"), ("vmlinuz", &[7; 99])]);
    let folder = folder.to_str().unwrap();
    let current = |name: &str| state.json(&["generations", name])["current"].as_u64();

    let text = state.ok(&["publish", "@debian", folder]);
    assert_eq!(text, "lab-2 now gets generation 1\nlab-10 now gets generation 1\n");
    assert_eq!(["lab-2", "lab-10", "rack-1"].map(current), [Some(1), Some(1), None]);
    let again = state.json(&["publish", "@all", folder]);
    let rows: Vec<_> =
        again.as_array().unwrap().iter().map(|r| (&r["gateway"], &r["changed"])).collect();
    let expected = [("alone", true), ("lab-2", false), ("lab-10", false), ("rack-1", true)];
    assert_eq!(rows.len(), 4);
    for ((gateway, changed), expected) in rows.into_iter().zip(expected) {
        assert_eq!((gateway.as_str().unwrap(), changed.as_bool().unwrap()), expected);
    }
    state.ok(&["publish", "--force", "lab-2", "@fedora", folder]);
    assert_eq!(["lab-2", "lab-10", "rack-1"].map(current), [Some(2), Some(1), Some(2)]);
    state.ok(&["rollback", "lab-2", "@fedora", "1"]);
    assert_eq!(["lab-2", "rack-1"].map(current), [Some(1), Some(1)]);
    assert_eq!(state.json(&["pin", "@debian"]).as_array().unwrap().len(), 2);
    assert_eq!(state.ok(&["release", "@debian"]).lines().count(), 2);
    assert_eq!(state.json(&["status", "@debian"]).as_array().unwrap().len(), 2);
    assert!(state.json(&["status", "lab-2"])["boots"].is_array());
    assert!(state.json(&["generations", "@debian"])[1]["generations"].is_array());
    assert_eq!(state.json(&["gateway", "set", "@debian", "--label", "a=b"])[1]["labels"]["a"], "b");
    state.ok(&["gateway", "renew", "@debian"]);
    let begun = state.json(&[
        "publish", "--canary", "@fedora", "--then", "lab-2", "--then", "@debian", "--then", "all",
        folder,
    ]);
    assert_eq!(begun["waves"], serde_json::json!([["rack-1"], ["lab-2"], ["lab-10"], ["alone"]]));
}

/// What one gateway stops does not stop the others.
#[test]
fn a_gateway_that_fails_is_named_and_the_others_go_on() {
    let state = groups();
    state.publish("lab-2", 10);
    let output = state.run(&["pin", "nobody", "@debian"]);
    assert_eq!(output.status.code(), Some(1));
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let lines: Vec<_> = stdout.lines().collect();
    assert!(lines[0].starts_with("nobody: failed: there is no gateway nobody"), "{stdout}");
    assert!(lines[1].starts_with("lab-2 now gets generation 1"), "{stdout}");
    assert!(lines[2].starts_with("lab-10: failed: nothing is published"), "{stdout}");
    assert!(stderr.starts_with("farmgate: 2 of 3 gateways failed: nobody: "), "{stderr}");
    let output = state.run(&["--json", "release", "@debian"]);
    assert_eq!(output.status.code(), Some(1));
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&rows[0]["generation"], &rows[1]["gateway"]), (&1.into(), &"lab-10".into()));
    assert!(rows[1]["error"].as_str().unwrap().contains("has no pin"), "{rows}");

    // Nobody knows whether a group has a gateway whose record cannot be read.
    let path = state.dir().join("gateways/rack-1/gateway.json");
    fs::write(&path, "{").unwrap();
    let output = state.run(&["pin", "lab-2", "@debian"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("rack-1: failed: nobody knows"));
}

#[test]
fn a_group_that_nobody_is_in_is_an_error_that_names_a_near_one() {
    let state = groups();
    let error = state.fails(&["status", "@debain"]);
    assert!(error.contains("no gateway is in group debain, but some are in debian"), "{error}");
    assert!(state.fails(&["pin", "@windows"]).contains("no gateway is in group windows;"));
    state.ok(&["gateway", "set", "rack-1", "--no-group"]);
    assert!(state.fails(&["rollback", "@fedora"]).contains("no gateway is in group fedora"));
    let none = TestState::quick();
    assert!(none.fails(&["status", "@debian"]).contains("--group debian"));
    assert_eq!(state.run(&["pin", "@"]).status.code(), Some(2));
}

/// Where nobody can be asked, a command that names gateways goes on as it did before it asked; a
/// group needs `--yes`.
#[test]
fn a_whole_group_is_not_removed_by_a_slip() {
    let state = groups();
    for command in ["revoke", "remove"] {
        let error = state.fails(&["gateway", command, "@debian"]);
        assert!(error.contains("lab-2 lab-10") && error.contains("--yes"), "{error}");
    }
    assert_eq!(state.json(&["gateway", "list"]).as_array().unwrap().len(), 4);
    assert_eq!(state.ok(&["gateway", "revoke", "@debian", "--yes"]).matches("revoked").count(), 2);
    state.ok(&["gateway", "remove", "alone"]);
    assert_eq!(
        state.ok(&["gateway", "remove", "-y", "@debian"]),
        "removed lab-2\nremoved lab-10\n"
    );
    assert_eq!(state.json(&["gateway", "list"]).as_array().unwrap().len(), 1);
}

/// Both hosts of a fleet see one group, whoever set it; a later change wins, and removal is one.
#[test]
fn a_group_reaches_the_other_boot_host() {
    let state = TestState::quick();
    let store = state.dir().join("../shared");
    fs::create_dir(&store).unwrap();
    let url = format!("[store]\nurl = \"file://{}\"\n", store.canonicalize().unwrap().display());
    crate::common::edit(&state.dir().join("farmgate.toml"), |text| format!("{text}\n{url}"));
    state.ok(&["gateway", "set", "lab-1", "--group", "debian", "--label", "a=1"]);
    state.ok(&["store", "sync"]);
    let other = state.new_host();
    other.ok(&["store", "sync"]);
    let group = |host: &TestState| host.json(&["gateway", "show", "lab-1"])["group"].clone();
    assert_eq!(group(&other), "debian");
    other.ok(&["gateway", "set", "lab-1", "--group", "fedora", "--no-label", "a"]);
    other.ok(&["store", "sync"]);
    state.ok(&["store", "sync"]);
    assert_eq!(group(&state), "fedora");
    assert_eq!(state.json(&["gateway", "show", "lab-1"])["labels"], serde_json::json!({}));
    state.ok(&["gateway", "set", "lab-1", "--no-group"]);
    state.ok(&["store", "sync"]);
    other.ok(&["store", "sync"]);
    assert_eq!(group(&other), serde_json::Value::Null);
}

/// The name is nothing that a medium or a boot depends on: the certificate is, whatever its CN.
#[test]
fn a_renamed_gateway_goes_on_as_before() {
    let state = TestState::quick();
    state.publish("lab-1", 100);
    state.ok(&["gateway", "set", "lab-1", "--group", "debian"]);
    let server = TestServer::start(&state);
    let kept = tempfile::tempdir().unwrap();
    let (certificate, key) = state.credentials("lab-1");
    let medium = [certificate, key].map(|from| {
        let to = kept.path().join(from.file_name().unwrap());
        fs::copy(from, &to).unwrap();
        to
    });
    let ask = |path: &str| {
        let stream = server.tls(&state, Some((medium[0].clone(), medium[1].clone())));
        request(stream, "GET", path, "").unwrap()
    };
    assert_eq!(ask("/boot/ipxe").status, 302);
    let begun = crate::common::setting_path(&ask("/g/1/boot.ipxe").text(), "ack_url").unwrap();
    let before = state.json(&["gateway", "show", "lab-1"]);

    state.ok(&["gateway", "rename", "lab-1", "rack-7"]);
    let after = state.json(&["gateway", "show", "rack-7"]);
    for key in ["added", "generation", "group", "certificates"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    // A boot that was under way is acknowledged, and the next one comes.
    assert_eq!(server.get_unix(&begun, "").status, 200);
    assert_eq!(state.json(&["status", "rack-7"])["acknowledged"], true);
    assert_eq!(ask("/boot/ipxe").status, 302);
    let script = ask("/g/1/boot.ipxe").text();
    assert_eq!(crate::common::setting(&script, "gateway_name").unwrap(), "rack-7");
    state.publish("rack-7", 200);
    assert!(ask("/boot/ipxe").header("location").unwrap().starts_with("/g/2/"));

    // The old name says what it is called now, and is free for another gateway.
    let error = state.fails(&["rollback", "lab-1"]);
    assert!(error.contains("it is called rack-7 now"), "{error}");
    state.ok(&["gateway", "add", "lab-1"]);
    assert_eq!(server.get_as(&state, "lab-1", "/boot/ipxe").status, 404);
    for (new, why) in [("lab-1", "already is a gateway lab-1"), ("rack-7", "has that name already")]
    {
        assert!(state.fails(&["gateway", "rename", "rack-7", new]).contains(why));
    }
    // Again, and back; then revocation still finds the medium.
    state.ok(&["gateway", "rename", "rack-7", "rack-8"]);
    assert_eq!(ask("/boot/ipxe").status, 302);
    state.ok(&["gateway", "remove", "lab-1"]);
    state.ok(&["gateway", "rename", "rack-8", "lab-1"]);
    assert_eq!(ask("/boot/ipxe").status, 302);
    state.ok(&["gateway", "revoke", "lab-1"]);
    assert_eq!(ask("/boot/ipxe").status, 403);
    let left: Vec<_> = fs::read_dir(state.dir().join("gateways"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(left.iter().all(|name| !name.to_str().unwrap().starts_with(".removed")), "{left:?}");
}

/// As after a crash in the middle: both names lead to one gateway.
#[test]
fn an_interrupted_rename_is_finished_by_the_next() {
    let state = TestState::quick();
    state.publish("lab-1", 10);
    let gateways = state.dir().join("gateways");
    let record = fs::read(gateways.join("lab-1/gateway.json")).unwrap();
    let credentials = state.credentials("lab-1");
    state.ok(&["gateway", "rename", "lab-1", "rack-7"]);
    fs::create_dir(gateways.join("lab-1")).unwrap();
    fs::write(gateways.join("lab-1/gateway.json"), record).unwrap();
    state.ok(&["gateway", "rename", "lab-1", "rack-7"]);
    let names: Vec<_> = state
        .json(&["gateway", "list"])
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["gateway"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["rack-7"]);
    assert!(!credentials.0.exists() && state.credentials("rack-7").1.exists());
    let server = TestServer::start(&state);
    assert_eq!(server.get_as(&state, "rack-7", "/boot/ipxe").status, 302);
}

#[test]
fn a_new_name_reaches_the_other_boot_host_with_its_keys_left_alone() {
    let state = TestState::quick();
    let store = state.dir().join("../shared");
    fs::create_dir(&store).unwrap();
    let url = format!("[store]\nurl = \"file://{}\"\n", store.canonicalize().unwrap().display());
    crate::common::edit(&state.dir().join("farmgate.toml"), |text| format!("{text}\n{url}"));
    state.publish("lab-1", 10);
    state.ok(&["store", "sync"]);
    let other = state.new_host();
    other.ok(&["store", "sync"]);
    other.ok(&["gateway", "rename", "lab-1", "rack-7"]);
    other.ok(&["store", "sync"]);
    let (_, key) = state.credentials("lab-1");
    state.ok(&["store", "sync"]);
    let (_, moved) = state.credentials("rack-7");
    assert!(!key.exists() && moved.exists());
    assert!(state.fails(&["status", "lab-1"]).contains("called rack-7 now"));
    let server = TestServer::start(&state);
    assert_eq!(server.get_as(&state, "rack-7", "/boot/ipxe").status, 302);
    // Both settle on it: another pass changes nothing.
    other.ok(&["store", "sync"]);
    let synced = state.json(&["store", "sync"]);
    assert_eq!(synced["records"], 0, "{synced}");
    state.publish("rack-7", 20);
    state.ok(&["store", "sync"]);
    other.ok(&["store", "sync"]);
    assert_eq!(other.json(&["generations", "rack-7"])["current"], 2);
}
