//! Who did what, when and why.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::common::BIN;
use crate::common::TestState;

fn folder(state: &TestState, kernel: &[u8]) -> String {
    let files = [("boot.ipxe", &b"#!ipxe\nboot\n"[..]), ("vmlinuz", kernel)];
    state.folder("content", &files).to_str().unwrap().to_owned()
}

/// A fleet that people have worked on.
fn worked_on() -> TestState {
    let mut state = TestState::with_init(&["--key-type", "p256"]);
    state.env.push(("FARMGATE_AUTHOR".into(), "Ada <ada@example.org>".into()));
    state.ok(&["gateway", "add", "lab-1", "-m", "new lab"]);
    state.ok(&["publish", "-m", "first", "lab-1", &folder(&state, b"one")]);
    state.ok(&["publish", "-m", "second", "lab-1", &folder(&state, b"two")]);
    state.ok(&["rollback", "-m", "no network", "lab-1"]);
    state.ok(&["pin", "lab-1", "2"]);
    state.ok(&["release", "lab-1"]);
    state.ok(&["gateway", "renew", "lab-1"]);
    let shown = state.json(&["gateway", "show", "lab-1"]);
    let first = shown["certificates"][0]["fingerprint"].as_str().unwrap();
    state.ok(&["gateway", "revoke", "lab-1", "--fingerprint", first, "-m", "stolen"]);
    state
}

fn kinds(log: &Value) -> Vec<&str> {
    log.as_array().unwrap().iter().map(|line| line["what"].as_str().unwrap()).collect()
}

#[test]
fn everything_that_was_done_is_told_with_its_author_and_reason() {
    let state = worked_on();
    let log = state.json(&["log"]);
    assert_eq!(
        kinds(&log),
        [
            "certificate-revoked",
            "certificate-renewed",
            "released",
            "pinned",
            "rolled-back",
            "published",
            "published",
            "gateway-added",
        ]
    );
    for line in log.as_array().unwrap() {
        assert_eq!(
            (&line["gateway"], &line["author"]),
            (&"lab-1".into(), &"Ada <ada@example.org>".into())
        );
    }
    assert_eq!(log[0]["message"], "stolen");
    assert_eq!(log[0]["fingerprints"].as_array().unwrap().len(), 1);
    assert_eq!((&log[5]["generation"], &log[5]["message"]), (&2.into(), &"second".into()));
    let text = state.ok(&["log"]);
    for words in ["went back to generation 1: no network", "pinned generation 2", "revoked "] {
        assert!(text.contains(words), "{words}: {text}");
    }
    // Never a certificate or a key.
    let all = format!("{text}{log}");
    assert!(!all.contains("BEGIN") && !all.contains("MII"), "{all}");

    assert_eq!(kinds(&state.json(&["log", "-n", "2"])).len(), 2);
    assert_eq!(kinds(&state.json(&["log", "-n", "0", "--since", "1h"])).len(), 8);
    // Nothing is older than a thousand years.
    assert_eq!(kinds(&state.json(&["log", "--since", "365000d"])).len(), 8);
    assert_eq!(state.run(&["log", "--since", "soon"]).status.code(), Some(2));
}

#[test]
fn another_name_is_told_with_the_old_one() {
    let state = worked_on();
    state.ok(&["gateway", "rename", "lab-1", "rack-7", "-m", "moved"]);
    let log = state.json(&["log", "rack-7"]);
    assert_eq!((&log[0]["what"], &log[0]["message"]), (&"gateway-renamed".into(), &"moved".into()));
    assert!(log[0]["detail"].as_str().unwrap().contains("lab-1"), "{log}");
    assert_eq!(log.as_array().unwrap().len(), 9, "what it did by its old name is there: {log}");
}

#[test]
fn the_log_of_a_removed_gateway_says_what_became_of_it() {
    let state = worked_on();
    state.ok(&["gateway", "add", "lab-2"]);
    state.ok(&["gateway", "remove", "lab-1", "-m", "lab closed"]);
    let log = state.json(&["log", "lab-1"]);
    let expected = [
        "gateway-removed",
        "certificate-revoked",
        "certificate-revoked",
        "certificate-renewed",
        "gateway-added",
    ];
    assert_eq!(kinds(&log), expected);
    assert_eq!(log[0]["message"], "lab closed");
    assert_eq!(kinds(&state.json(&["log", "lab-2"])), ["gateway-added"]);
    assert!(state.fails(&["log", "lab-3"]).contains("no gateway lab-3"));
}

#[test]
fn rollouts_are_in_it() {
    let state = TestState::with_init(&["--key-type", "p256"]);
    for name in ["a", "b"] {
        state.ok(&["gateway", "add", name]);
        state.publish(name, 10);
    }
    state.ok(&["publish", "--canary", "a", "--then", "b", "-m", "new", &folder(&state, b"new")]);
    state.ok(&["rollout", "stop"]);
    state.ok(&["rollout", "resume"]);
    state.ok(&["rollout", "stop", "--revert"]);
    let log = state.json(&["log"]);
    let rollouts: Vec<_> =
        kinds(&log).into_iter().filter(|kind| kind.starts_with("rollout")).collect();
    let expected = [
        "rollout-taken-back",
        "rollout-stopped",
        "rollout-resumed",
        "rollout-stopped",
        "rollout-begun",
    ];
    assert_eq!(rollouts, expected);
    let text = state.ok(&["log"]);
    assert!(text.contains("published generation 2 for later: new"), "{text}");
    assert!(text.contains("1 + 1 gateways"), "{text}");
}

#[test]
fn an_author_is_known_by_the_user_and_the_host() {
    let state = TestState::quick();
    let author = |env: &[(&str, &str)]| {
        let mut command = Command::new(BIN);
        command.env_remove("FARMGATE_AUTHOR").env_remove("SUDO_USER").envs(env.iter().copied());
        command.arg("--state").arg(state.dir()).args(["publish", "--force", "lab-1"]);
        let output = command.arg(folder(&state, b"one")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        state.json(&["log", "lab-1"])[0]["author"].as_str().unwrap().to_owned()
    };
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap().name;
    assert_eq!(author(&[]), format!("{user}@{host}"));
    assert_eq!(author(&[("SUDO_USER", "ada")]), format!("ada@{host}"));
    assert_eq!(author(&[("SUDO_USER", "ada"), ("FARMGATE_AUTHOR", "Bob")]), "Bob");
    // Nobody sets the title of a colleague's terminal.
    assert_eq!(author(&[("FARMGATE_AUTHOR", "\x1b]0;owned\x07")]), "\u{fffd}]0;owned\u{fffd}");
    for message in ["", " ", &"x".repeat(401)] {
        let output = state.run(&["pin", "lab-1", "-m", message]);
        assert_eq!(output.status.code(), Some(2), "{message:?}");
    }
}

#[test]
fn what_older_and_newer_versions_wrote_is_shown_as_far_as_possible() {
    let state = worked_on();
    let acts = state.dir().join("store/acts");
    let name = |number: u8| format!("{number:08x}-0000-7000-8000-000000000001.json");
    let newer =
        r#"{"format":1,"at":"2100-01-01T00:00:00Z","what":"moon-landed","gateway":"lab-1"}"#;
    fs::write(acts.join(name(1)), newer).unwrap();
    let before = state.json(&["log"]).as_array().unwrap().len();
    assert_eq!(before, 9);
    assert!(state.ok(&["log"]).contains("something that a newer farmgate knows"));
    // A damaged one hides no other.
    fs::write(acts.join(name(2)), "{").unwrap();
    let output = state.run(&["--json", "log"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&name(2)));
    let log: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(log.as_array().unwrap().len(), 9);
    // The rest of the program does not need them.
    fs::remove_dir_all(&acts).unwrap();
    state.ok(&["status"]);
    assert_eq!(kinds(&state.json(&["log"])).len(), 5);
}

#[test]
fn other_hosts_learn_of_it() {
    let shared = tempfile::tempdir().unwrap();
    let first = worked_on();
    let url = format!("\n[store]\nurl = \"file://{}\"\n", shared.path().display());
    crate::common::edit(&first.dir().join("farmgate.toml"), |text| text.to_owned() + &url);
    first.ok(&["store", "sync"]);
    let second = first.new_host();
    second.ok(&["store", "sync"]);
    assert_eq!(second.json(&["log"]), first.json(&["log"]));
    // The certificate is revoked there, though only the host with the CA's key can sign the CRL.
    assert!(second.fails(&["gateway", "revoke", "lab-1", "-m", "lost"]).contains("ca.key"));
    second.ok(&["store", "sync"]);
    first.ok(&["store", "sync"]);
    let log = first.json(&["log"]);
    assert_eq!((kinds(&log)[0], &log[0]["message"]), ("certificate-revoked", &"lost".into()));
}

/// What somebody changed in a record, by hand or by a fleet folder, and nothing where nothing changed.
#[test]
fn groups_and_labels_are_told_of_with_what_they_were() {
    let mut state = TestState::quick();
    state.env.push(("FARMGATE_AUTHOR".into(), "Ada".into()));
    let set = ["gateway", "set", "lab-1", "--group", "rack", "--label", "site=Bonn", "-m", "moved"];
    for _ in 0..2 {
        state.ok(&set);
    }
    state.ok(&["gateway", "set", "lab-1", "--assessment", "none"]);
    let files = [
        ("fleet.toml", &b""[..]),
        ("profiles/one/boot.ipxe", b"#!ipxe\nsanboot --drive 0x80 || reboot\n"),
        (
            "gateways/lab-1.toml",
            b"profile = \"one\"\ngroup = \"home\"\nlabels = { site = \"Ulm\", x = \"y\" }\n",
        ),
    ];
    let fleet = state.folder("fleet", &files);
    for _ in 0..2 {
        state.ok(&["apply", fleet.to_str().unwrap(), "-m", "from the folder"]);
    }
    let log = state.json(&["log", "lab-1"]);
    let lines = log.as_array().unwrap().iter().filter(|line| line["what"] == "gateway-changed");
    let told: Vec<_> =
        lines.map(|line| [&line["detail"], &line["author"], &line["message"]]).collect();
    assert_eq!(
        serde_json::json!(told),
        serde_json::json!([
            [
                "group rack → home, label site Bonn → Ulm, label x none → y",
                "Ada",
                "from the folder"
            ],
            ["assessment default → none", "Ada", null],
            ["group none → rack, label site none → Bonn", "Ada", "moved"],
        ])
    );
    let text = state.ok(&["log", "lab-1"]);
    assert!(text.contains("changed the gateway: group none → rack"), "{text}");
}
