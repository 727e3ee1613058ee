//! The fleet of valve-infra's ipxe-boot-server, taken over: made as its Makefile makes it, by openssl.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::common::TestServer;
use crate::common::TestState;
use crate::common::request;
use crate::json;

/// Placeholders, values of the old server, unknown names, and what only looks like one of these.
const SCRIPT: &str = "#!ipxe\n\
# client $client_cert_fingerprint $$HOME ${unknown} ${netX/mac} $x costs 5$\n\
kernel /files/vmlinuz initrd=initrd b2c.extra_args_url=\"$secrets_url\" ip=${netX/ip}\n\
initrd --name initrd /files/initrd\n\
boot\n";
const SECRETS: &str = "NAME=$gateway ID=${client_cert_fingerprint} COST=5$$ URL=$secrets_url\n";

fn openssl(dir: &Path, args: &str) {
    let args: Vec<_> = args.split_whitespace().collect();
    let done = Command::new("openssl").current_dir(dir).args(&args).output().unwrap();
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// What Python makes of a template: the old server's own code.
fn python(template: &str, values: &[(&str, &str)]) -> String {
    let code = "import json, string, sys\n\
        template, values = json.load(sys.stdin)\n\
        sys.stdout.write(string.Template(template).safe_substitute(values))\n";
    let values: std::collections::BTreeMap<_, _> = values.iter().copied().collect();
    let input = serde_json::to_string(&(template, values)).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), input).unwrap();
    let stdin = fs::File::open(file.path()).unwrap();
    let done = Command::new("python3").args(["-c", code]).stdin(stdin).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// A checkout of valve-infra, in use.
struct Old {
    dir: TempDir,
}

impl Old {
    fn new() -> Self {
        let old = Self { dir: TempDir::new().unwrap() };
        for folder in ["files/.git", "ca_cert", "infra_isos"] {
            fs::create_dir_all(old.path(folder)).unwrap();
        }
        openssl(
            &old.path("ca_cert"),
            "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 3650 \
             -subj /CN=boot.example.org",
        );
        old
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// A client certificate, as `openssl ca` makes it: version 1. Returns its SHA-1.
    fn client(&self, name: &str) -> String {
        let (isos, iso) = (self.path("infra_isos"), format!("ci-gateway-{name}.iso"));
        openssl(
            &isos,
            &format!(
                "req -new -newkey rsa:2048 -nodes -keyout {iso}.key -out {iso}.req -subj /CN={name}"
            ),
        );
        openssl(
            &isos,
            &format!(
                "x509 -req -in {iso}.req -CA ../ca_cert/ca.crt -CAkey ../ca_cert/ca.key \
                 -CAcreateserial -CAserial ../ca_cert/ca.srl -days 3650 -out {iso}.crt"
            ),
        );
        openssl(&isos, &format!("x509 -in {iso}.crt -outform DER -out der"));
        let done = Command::new("sha1sum").arg(isos.join("der")).output().unwrap();
        fs::remove_file(isos.join("der")).unwrap();
        String::from_utf8(done.stdout).unwrap()[..40].to_owned()
    }

    fn files(&self, sha1: &str, files: &[(&str, &str)]) {
        let folder = self.path("files").join(sha1);
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
    }

    fn credentials(&self, name: &str) -> (PathBuf, PathBuf) {
        let iso = self.path(&format!("infra_isos/ci-gateway-{name}.iso"));
        (iso.with_extension("iso.crt"), iso.with_extension("iso.key"))
    }
}

/// A kernel that `check` takes for one.
fn kernel(old: &Old, sha1: &str) {
    fs::write(old.path("files").join(sha1).join("vmlinuz"), crate::common::kernel()).unwrap();
}

fn state() -> TestState {
    TestState::at(TempDir::new().unwrap())
}

const INIT: [&str; 4] = ["--url", "https://127.0.0.1:8443", "--ntp", "none"];

fn import<'a>(old: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [&["import", "valve-infra", old.to_str().unwrap()], &INIT[..], more].concat()
}

fn gateway<'a>(report: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    let all = report["gateways"].as_array().unwrap();
    all.iter().find(|one| one["gateway"] == name).unwrap_or_else(|| panic!("{name}: {report}"))
}

#[test]
fn an_old_client_gets_what_the_old_server_sent() {
    let old = Old::new();
    let (with, without) = (old.client("lab-1"), old.client("lab-2"));
    for sha1 in [&with, &without] {
        old.files(sha1, &[("boot.ipxe", SCRIPT), ("initrd", "an initrd")]);
        kernel(&old, sha1);
    }
    old.files(&with, &[("secrets", SECRETS)]);
    let state = state();
    let dry = state.json(&import(old.dir.path(), &["--dry-run"]));
    json::hold("import valve-infra", std::slice::from_ref(&dry));
    assert_eq!(gateway(&dry, "lab-1")["done"], serde_json::json!(["added", "published"]));
    assert!(!state.dir().exists(), "a dry run made a state");

    let report = state.json(&import(old.dir.path(), &[]));
    assert_eq!(report["ca_done"], "taken over");
    assert_eq!(gateway(&report, "lab-1")["sha1"], with);
    let ca = fs::read(old.path("ca_cert/ca.crt")).unwrap();
    assert!(fs::read(state.dir().join("pki/ca.crt")).unwrap() == ca);

    let server = TestServer::start(&state);
    let ask = |name: &str, path: &str| {
        let stream = server.tls(&state, Some(old.credentials(name)));
        request(stream, "GET", path, "").unwrap()
    };
    for (name, sha1, secrets_url) in
        [("lab-1", &with, "${secrets_url}"), ("lab-2", &without, "None")]
    {
        let sent = ask(name, "/boot/ipxe");
        assert_eq!(sent.status, 302, "{name}");
        let script = ask(name, sent.header("location").unwrap());
        let text = String::from_utf8(script.body).unwrap();
        let values = [("client_cert_fingerprint", sha1.as_str()), ("secrets_url", secrets_url)];
        let before = python(SCRIPT, &values);
        let prelude = text.strip_suffix(&before).unwrap_or_else(|| panic!("{text}\n--\n{before}"));
        assert!(prelude.lines().skip(1).all(|line| line.starts_with("set ")), "{prelude}");
        assert!(ask(name, "/files/vmlinuz").body == crate::common::kernel());
        if let Some(url) = prelude.lines().find_map(|line| line.strip_prefix("set secrets_url ")) {
            let path = url.trim_start_matches("https://127.0.0.1:8443").trim_end_matches(" ||");
            let values = [("client_cert_fingerprint", sha1.as_str()), ("secrets_url", "None")];
            let secrets = String::from_utf8(ask(name, path).body).unwrap();
            assert_eq!(secrets, python(SECRETS, &values));
        } else {
            assert_eq!(name, "lab-2", "{prelude}");
        }
    }
    // Nothing acknowledges in systems that were made for the old server.
    assert_eq!(state.json(&["gateway", "show", "lab-1"])["assessment"], "none");
    // The key came too, so a medium can be made.
    assert!(state.credentials("lab-1").1.exists());
}

#[test]
fn twice_changes_nothing_and_new_ones_are_added() {
    let old = Old::new();
    let first = old.client("lab-1");
    old.files(&first, &[("boot.ipxe", "#!ipxe\nkernel vmlinuz\nboot\n")]);
    kernel(&old, &first);
    let state = state();
    state.ok(&import(old.dir.path(), &["--server-name", "farm"]));
    // What was published since stays.
    state.publish("lab-1", 10);
    let shown = || (state.json(&["generations", "lab-1"]), state.json(&["gateway", "list"]));
    let before = shown();
    let report = state.json(&import(old.dir.path(), &["--server-name", "farm"]));
    assert_eq!(report["ca_done"], "unchanged");
    assert_eq!(gateway(&report, "lab-1")["done"], serde_json::json!([]));
    // Without a provider, the bucket's name is all that can be said.
    let notes = gateway(&report, "lab-1")["notes"].to_string();
    assert!(notes.contains(&format!("its bucket is ipxe-farm-{first}")), "{notes}");
    assert_eq!(shown(), before);

    old.client("Lab_2");
    let report = state.json(&import(old.dir.path(), &[]));
    let second = gateway(&report, "lab-2");
    assert_eq!(second["done"], serde_json::json!(["added"]));
    assert!(second["notes"].to_string().contains("nothing is published"), "{second}");
}

#[test]
fn buckets_are_adopted_by_their_old_names() {
    let old = Old::new();
    let sha1 = old.client("lab-1");
    let state = state();
    state.ok(&import(old.dir.path(), &[]));
    let path = state.dir().join("farmgate.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}\n[buckets]\nprovider = \"b2\"\n")).unwrap();
    for expected in [serde_json::json!(["bucket"]), serde_json::json!([])] {
        let report = state.json(&import(old.dir.path(), &["--server-name", "farm"]));
        assert_eq!(gateway(&report, "lab-1")["done"], expected);
    }
    let wished = fs::read_dir(state.dir().join("buckets")).unwrap();
    let texts = wished.filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok());
    let name = format!("ipxe-farm-{sha1}");
    assert!(texts.into_iter().any(|text| text.contains(&name)), "{name} is not adopted");
}

/// Each is named, and stops none of the others.
#[test]
fn what_cannot_be_taken_over_is_said() {
    let old = Old::new();
    let client = |name: &str, script: &str| {
        let sha1 = old.client(name);
        old.files(&sha1, &[("boot.ipxe", script)]);
        kernel(&old, &sha1);
        sha1
    };
    let good = client("good", "#!ipxe\nkernel vmlinuz\nboot\n");
    client("bad", "#!ipxe\nkernle x\n");
    // Whose SHA-1 is the lower one gets the name.
    let twin = client("Good", "#!ipxe\nkernel vmlinuz\nboot\n");
    let leaking = old.client("leaking");
    old.files(&leaking, &[("boot.ipxe", "#!ipxe\nboot\n")]);
    std::os::unix::fs::symlink("/etc/passwd", old.path("files").join(&leaking).join("x")).unwrap();
    old.files(&"0".repeat(40), &[("boot.ipxe", "#!ipxe\n")]);
    let revoked = old.client("stolen");
    let serial = Command::new("openssl")
        .args(["x509", "-noout", "-serial", "-in"])
        .arg(old.credentials("stolen").0)
        .output()
        .unwrap();
    let serial = String::from_utf8(serial.stdout).unwrap().trim().replace("serial=", "");
    let index = format!("R\t361127000000Z\t261127000000Z\t{serial}\tunknown\t/CN=stolen\n");
    fs::write(old.path("ca_cert/ca.idx"), index).unwrap();

    let state = state();
    let output = state.run(&[&["--json"], &import(old.dir.path(), &[])[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let conflict =
        |name| gateway(&report, name)["conflict"].as_str().unwrap_or_default().to_owned();
    assert!(conflict("bad").contains("boot.ipxe"), "{report}");
    assert!(conflict("leaking").contains("leads out of"), "{report}");
    let left = report["left"].to_string();
    for expected in ["good is also the name", &"0".repeat(40), "valve-infra's CA revoked it"] {
        assert!(left.contains(expected), "{expected}: {left}");
    }
    let names = state.json(&["gateway", "list"]).to_string();
    assert!(names.contains("\"good\"") && !names.contains("stolen"), "{names} {revoked}");
    assert_eq!(state.json(&["generations", "good"]).to_string().matches("published").count(), 1);

    // With names of their own, both twins are there.
    let named = format!("{}=good-2", twin.max(good));
    state.run(&import(old.dir.path(), &["--name", &named]));
    assert!(state.json(&["gateway", "list"]).to_string().contains("\"good-2\""));

    // A state of another fleet is left alone.
    let other = TestState::new();
    let error = other.fails(&import(old.dir.path(), &[]));
    assert!(error.contains("has another CA"), "{error}");
}
