//! Groups and labels, and several gateways in one call.

use std::fs;

use crate::common::TestState;
use crate::reroot::stock_dir;

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

#[test]
fn a_group_is_compared_and_its_log_is_shown() {
    let state = groups();
    for kernel in [b"1", b"2"] {
        let folder = state.folder("f", &[("boot.ipxe", b"#!ipxe\nboot\n"), ("vmlinuz", kernel)]);
        state.ok(&["publish", "@debian", folder.to_str().unwrap()]);
    }
    let text = state.ok(&["diff", "@debian"]);
    assert!(text.contains("lab-2: generation 1 → 2") && text.contains("lab-10: gener"), "{text}");
    assert_eq!(state.json(&["diff", "@debian", "2", "1"])[1]["to"], 1);
    assert_eq!(state.json(&["diff", "lab-2"])["gateway"], "lab-2");
    let output = state.run(&["diff", "@all"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("rack-1: failed: nothing is publi"));

    let lines = |args: &[&str]| {
        let lines = state.json(&[&["log"], args].concat());
        let lines = lines.as_array().unwrap().iter();
        lines.map(|line| line["gateway"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let of = |name: &str, lines: &[String]| lines.iter().filter(|line| *line == name).count();
    let debian = lines(&["@debian"]);
    assert_eq!((debian.len(), of("lab-2", &debian), of("lab-10", &debian)), (6, 3, 3));
    assert_eq!(lines(&["rack-1", "@debian"]).len(), 7);
    assert_eq!(lines(&["@all"]).len(), 8);
    assert_eq!(lines(&["alone"]), ["alone"]);
    state.ok(&["gateway", "remove", "alone"]);
    assert!(lines(&["alone"]).len() > 1);
    assert!(state.fails(&["log", "nobody"]).contains("there is no gateway nobody"));
    // One that cannot be read is told of, and the others' lines are there.
    fs::write(state.dir().join("gateways/lab-2/gateway.json"), "{").unwrap();
    let output = state.run(&["log", "lab-2", "lab-10"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("lab-10"), "{output:?}");
}

#[test]
fn images_are_made_for_a_group_and_for_all() {
    let mut state = TestState::with_gateway();
    state.env.push(("FARMGATE_IPXE".into(), stock_dir().into()));
    for name in ["rack-1", "rack-2"] {
        state.ok(&["gateway", "add", name, "--group", "rack"]);
    }
    let make = |args: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        let to = ["--out-dir", dir.path().to_str().unwrap()];
        let made = state.json(&[&["iso", "make"], args, &to].concat());
        let made = made["images"].as_array().unwrap().clone();
        for image in &made {
            let verified = state.json(&["iso", "verify", image["file"].as_str().unwrap()]);
            let subject = format!("CN={}", image["gateway"].as_str().unwrap());
            assert_eq!(verified["identity"]["subject"], subject);
        }
        made.iter().map(|image| image["gateway"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(make(&["@rack"]), ["rack-1", "rack-2"]);
    assert_eq!(make(&["--all"]), ["lab-1", "rack-1", "rack-2"]);
    assert_eq!(make(&["@rack", "lab-1"]), ["rack-1", "rack-2", "lab-1"]);
    assert_eq!(state.run(&["iso", "make", "--all", "lab-1"]).status.code(), Some(2));
    assert_eq!(state.run(&["iso", "make"]).status.code(), Some(2));
    assert!(state.fails(&["iso", "make", "@rack", "-o", "x.iso"]).contains("use --out-dir"));
}

/// Commands that are about one gateway. All others take groups.
const ABOUT_ONE: &[&[&str]] = &[
    &["bucket", "adopt", "@debian", "bucket-1"],
    &["gateway", "add", "@debian"],
    &["gateway", "rename", "@debian", "lab-3"],
    &["get", "@debian", "1", "boot.ipxe"],
    &["iso", "seal", "base.iso", "--gateway", "@debian", "-o", "x.iso"],
    &["try", "@debian"],
];

#[test]
fn commands_about_one_gateway_refuse_a_group_with_the_reason() {
    let state = TestState::quick();
    for args in ABOUT_ONE {
        let output = state.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains("this takes the name of one gateway, not a group"), "{stderr}");
    }
    // docs/commands.md is what `--help` says.
    let help = include_str!("../../docs/commands.md");
    let mut found = Vec::new();
    for section in help.split("\n## farmgate ").skip(1) {
        let command = section.lines().next().unwrap();
        let takes_one = ["<NAME> ", "[NAME] ", "--gateway <NAME> ", "<OLD> "];
        let is_argument = |line: &str| {
            let line = format!("{} ", line.trim());
            takes_one.iter().any(|argument| line.starts_with(argument))
        };
        if section.lines().any(is_argument) {
            found.push(command);
        }
    }
    let expected =
        ABOUT_ONE.iter().map(|args| args.iter().take_while(|arg| !arg.contains(['@', '.'])));
    let expected: Vec<_> =
        expected.map(|words| words.copied().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(found.iter().collect::<std::collections::BTreeSet<_>>().len(), found.len());
    found.sort_unstable();
    assert_eq!(found, expected);
}

/// A gateway that fails does not stop the others.
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
