//! A state of version 0.1 works with this version: `tests/fixtures/state-0.1` (see the README there).

use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::Value;

use crate::common::PATIENCE;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::edit;
use crate::common::request;
use crate::common::setting_path;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/state-0.1")
}

/// A copy of the state that can be changed.
fn old_state() -> TestState {
    let dir = tempfile::tempdir().unwrap();
    copy(&fixture().join("state"), &dir.path().join("state"), "");
    TestState::at(dir)
}

/// Copies a folder of the fixture; `below` is its path within the state.
fn copy(from: &Path, to: &Path, below: &str) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let (path, to) = (entry.path(), to.join(&name));
        let below = format!("{below}/{}", name.to_str().unwrap());
        let kind = entry.file_type().unwrap();
        if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(path).unwrap(), to).unwrap();
        } else if kind.is_dir() {
            copy(&path, &to, &below);
        } else {
            fs::copy(&path, &to).unwrap();
            set_mode(&to, if is_public(&below) { 0o644 } else { 0o600 });
        }
    }
    let passable = ["", "/store"].contains(&below) || below.starts_with("/store/blobs");
    set_mode(to, if passable { 0o711 } else { 0o700 });
}

fn is_public(path: &str) -> bool {
    path.starts_with("/store/blobs/")
        || ["/farmgate.toml", "/format", "/pki/ca.crt", "/pki/server.crt", "/pki/crl.pem"]
            .contains(&path)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// What version 0.1 printed.
#[track_caller]
fn said(name: &str) -> Value {
    let text = fs::read_to_string(fixture().join("said").join(format!("{name}.json")));
    serde_json::from_str(&text.unwrap()).unwrap()
}

/// Names of JSON that one thing had beside its own.
const RENAMED: [(&str, &[&str]); 3] = [
    ("certificate_until", &["not_after"]),
    ("generation", &["generation", "event"]),
    ("id", &["id", "boot", "gateway_id"]),
];

/// Whether all that version 0.1 printed is there. Names of JSON have underscores today, there are
/// more of them, and some things had several.
fn holds(today: &Value, said: &Value) -> bool {
    match (today, said) {
        (Value::Object(today), Value::Object(said)) => said.iter().all(|(name, value)| {
            let name = name.replace('-', "_");
            let renamed = RENAMED.iter().find(|(old, _)| *old == name).map(|(_, new)| *new);
            let same = [&*name];
            let mut names = renamed.unwrap_or(&same).iter();
            names.any(|name| today.get(*name).is_some_and(|today| holds(today, value)))
        }),
        (Value::Array(today), Value::Array(said)) => {
            today.len() == said.len()
                && today.iter().zip(said).all(|(today, said)| holds(today, said))
        }
        _ => today == said,
    }
}

#[track_caller]
fn assert_says(state: &TestState, args: &[&str], name: &str) {
    let (today, said) = (state.json(args), said(name));
    assert!(holds(&today, &said), "{name}: {today:#} lacks something of {said:#}");
}

/// A boot that version 0.1 began.
struct OldBoot {
    location: String,
    script: String,
    ack: String,
    secrets: String,
}

fn old_boot(name: &str) -> OldBoot {
    let boot = &said("boots")[name];
    let text = |name: &str| boot[name].as_str().unwrap().to_owned();
    OldBoot {
        location: text("location"),
        script: text("script"),
        ack: text("ack_url"),
        secrets: text("secrets_url"),
    }
}

/// A script with `TOKEN` in the place of the tokens that each boot has of its own.
fn without_tokens(script: &str) -> String {
    let paths = ["ack_url", "secrets_url"].map(|name| setting_path(script, name).unwrap());
    paths.iter().fold(script.to_owned(), |script, path| script.replace(path, "/TOKEN"))
}

fn current(state: &TestState, gateway: &str) -> u64 {
    state.json(&["generations", gateway])["current"].as_u64().unwrap()
}

fn generation(state: &TestState, gateway: &str, number: u64) -> Value {
    let listing = state.json(&["generations", gateway]);
    let mut all = listing["generations"].as_array().unwrap().iter();
    all.find(|generation| generation["generation"] == number).unwrap().clone()
}

/// What the doctor finds of the state itself: which check, and how it came out.
fn verdicts(findings: &Value) -> Vec<(String, String)> {
    let of_the_state = ["buckets", "certificates", "gateways", "secrets"];
    let findings = findings.as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let verdicts = findings.map(|finding| (text(&finding["check"]), text(&finding["verdict"])));
    verdicts.filter(|(check, _)| of_the_state.contains(&check.as_str())).collect()
}

#[test]
fn every_command_says_of_it_what_the_old_one_said() {
    let state = old_state();
    for (name, args) in [
        ("gateway-list", vec!["gateway", "list"]),
        ("status", vec!["status"]),
        ("rollout-list", vec!["rollout", "list"]),
        ("bucket-list", vec!["bucket", "list"]),
    ] {
        assert_says(&state, &args, name);
    }
    for gateway in ["lab-1", "lab-2", "lab-3", "lab-4"] {
        for command in ["generations", "status"] {
            let name = format!("{command}-{gateway}");
            assert_says(&state, &[command, gateway], &name);
        }
        let name = format!("gateway-show-{gateway}");
        assert_says(&state, &["gateway", "show", gateway], &name);
    }
    // Others of its findings are about this machine, and may be errors.
    let output = state.run(&["--json", "doctor"]);
    let findings = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verdicts(&findings), verdicts(&said("doctor")), "{findings:#}");
}

#[test]
fn a_gateway_boots_with_the_very_same_script() {
    let state = old_state();
    let server = TestServer::start(&state);
    let old = old_boot("running");
    let reply = server.get_as(&state, "lab-1", "/boot/ipxe");
    assert_eq!((reply.status, reply.header("location")), (302, Some(&*old.location)), "{reply:?}");
    let script = server.get_as(&state, "lab-1", &old.location).text();
    assert_eq!(without_tokens(&script), without_tokens(&old.script));
    assert_ne!(script, old.script);
    let kernel = server.get_as(&state, "lab-1", "/g/3/vmlinuz");
    assert_eq!((kernel.status, kernel.body.ends_with(b"third")), (200, true));
    // The old boot is not over yet; the generation is good only now.
    assert_eq!(generation(&state, "lab-1", 3)["good"], false);
    let secrets = server.get_unix(&old.secrets, "");
    let expected = "GATEWAY=lab-1\nGENERATION=3\nBUCKET=farmgate-lab-1-";
    assert!(secrets.text().starts_with(expected), "{secrets:?}");
    assert_eq!(server.get_unix(&old.ack, "").status, 200);
    assert_eq!(generation(&state, "lab-1", 3)["good"], true);
}

#[test]
fn a_certificate_that_was_revoked_stays_so() {
    let state = old_state();
    let server = TestServer::start(&state);
    let shown = said("gateway-show-lab-1");
    let revoked = shown["certificates"][0]["fingerprint"].as_str().unwrap();
    let home = state.dir().join("gateways/lab-1");
    let credentials = ["crt", "key"].map(|kind| home.join(format!("{revoked}.{kind}")));
    let stream = server.tls(&state, Some(credentials.into()));
    assert_eq!(request(stream, "GET", "/boot/ipxe", "").unwrap().status, 403);
    let old = old_boot("revoked");
    assert_eq!(server.get_unix(&old.ack, "").status, 403);
    assert_eq!(server.get_unix(&old.secrets, "").status, 404);
    assert_eq!(server.get_as(&state, "lab-1", "/boot/ipxe").status, 302);
}

#[test]
fn an_open_rollout_goes_on() {
    let state = old_state();
    let server = TestServer::start(&state);
    assert_eq!(["lab-1", "lab-4"].map(|name| current(&state, name)), [3, 1]);
    assert_eq!(server.get_unix(&old_boot("canary").ack, "").status, 200);
    let deadline = Instant::now() + PATIENCE;
    while ["lab-1", "lab-4"].map(|name| current(&state, name)) != [4, 2] {
        assert!(Instant::now() < deadline, "the last wave did not begin");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    // The last wave is watched, too; who is pinned or removed holds up nobody.
    assert!(state.ok(&["rollout", "list"]).contains("under way"));
    let location = server.get_as(&state, "lab-1", "/boot/ipxe");
    let script = server.get_as(&state, "lab-1", location.header("location").unwrap()).text();
    assert_eq!(server.get_unix(&setting_path(&script, "ack_url").unwrap(), "").status, 200);
    while !state.ok(&["rollout", "list"]).contains("finished: every wave works") {
        assert!(Instant::now() < deadline, "the rollout is still open");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    // A pin outlasts it.
    let reply = server.get_as(&state, "lab-2", "/boot/ipxe");
    assert_eq!(reply.header("location"), Some("/g/1/boot.ipxe"));
}

#[test]
fn it_can_be_changed_in_every_way() {
    let state = old_state();
    state.ok(&["rollback", "lab-1", "1"]);
    assert_eq!(current(&state, "lab-1"), 1);
    state.publish("lab-1", 10);
    assert_eq!(current(&state, "lab-1"), 5);
    state.ok(&["release", "lab-2"]);
    state.ok(&["gateway", "renew", "lab-2"]);
    state.ok(&["gateway", "add", "lab-5"]);
    state.ok(&["gateway", "revoke", "lab-4"]);
    state.ok(&["gateway", "remove", "lab-3"]);
    state.ok(&["pki", "renew"]);
    let server = TestServer::start(&state);
    let location = |gateway: &str| {
        let reply = server.get_as(&state, gateway, "/boot/ipxe");
        reply.header("location").map(str::to_owned).ok_or(reply.status)
    };
    assert_eq!(location("lab-1"), Ok("/g/5/boot.ipxe".to_owned()));
    assert_eq!(location("lab-2"), Ok("/g/2/boot.ipxe".to_owned()));
    assert_eq!(location("lab-4"), Err(403));
    assert_eq!(location("lab-5"), Err(404));
}

#[test]
fn hosts_of_both_versions_can_share_a_store() {
    let state = old_state();
    let common = state.folder("common", &[]);
    copy(&fixture().join("common"), &common, "/common");
    let store = format!("\n[store]\nurl = \"file://{}\"\n", common.display());
    edit(&state.dir().join("farmgate.toml"), |text| text + &store);
    // All of it was delivered, and nothing in it is foreign.
    let synced = state.json(&["store", "sync"]);
    assert_eq!((&synced["pushed"], &synced["left_out"]), (&0.into(), &0.into()), "{synced}");
    // A host that knows nothing hears of everything there.
    let other = state.new_host();
    other.ok(&["store", "sync"]);
    for gateway in ["lab-1", "lab-2", "lab-3", "lab-4"] {
        let (here, there) = (said(&format!("generations-{gateway}")), ["generations", gateway]);
        let there = other.json(&there);
        for key in ["current", "next"] {
            assert_eq!(there[key], here[key], "{gateway}");
        }
    }
    assert!(!other.ok(&["gateway", "list"]).contains("gone"));
}
