//! What `--json` prints, compared with docs/json.md key by key.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::TestServer;
use crate::common::TestState;
use crate::common::edit;

/// The keys of each command in docs/json.md; true for those that may be missing.
fn documented() -> BTreeMap<String, BTreeMap<String, bool>> {
    let mut all: BTreeMap<String, BTreeMap<String, bool>> = BTreeMap::new();
    let mut commands = Vec::new();
    for line in text().lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            commands = heading.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        } else if let Some(row) = line.strip_prefix("| `") {
            let (key, holds) = row.split_once("` | ").unwrap();
            for command in &commands {
                let keys = all.entry(command.clone()).or_default();
                keys.insert(key.to_owned(), holds.starts_with("optional"));
            }
        }
    }
    all
}

fn text() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json.md")).unwrap()
}

/// The paths of all keys in a document.
fn keys(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let key = if at.ends_with("labels") { "*" } else { key };
                let path = if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
                keys(value, &path, found);
                found.insert(path);
            }
        }
        Value::Array(all) => {
            let at = if at.is_empty() { String::new() } else { format!("{at}[]") };
            all.iter().for_each(|value| keys(value, &at, found));
        }
        _ => {}
    }
}

/// Runs every command once, with its options in the way that each shows the most.
fn printed() -> Vec<(&'static str, Value)> {
    let state = TestState::new();
    let shared = state.folder("shared", &[("x", b"")]);
    fs::remove_file(shared.join("x")).unwrap();
    let url = format!("\n[store]\nurl = \"file://{}\"\n", shared.display());
    let sync = "\n[sync]\nremote = \"file:///nonexistent/fleet.git\"\n";
    edit(&state.dir().join("farmgate.toml"), |text| text + &url + sync);
    assert!(!state.run(&["sync"]).status.success());
    let folder = state.folder("f", &[("boot.ipxe", b"#!ipxe\nfrobnicate ||\nboot\n")]);
    let folder = folder.to_str().unwrap();
    let image = state.dir().join("../a.iso");
    let host = state.dir().join("../host");
    let mut all = Vec::new();
    let mut run = |name: &'static str, args: &[&str]| {
        let output = state.run(&[&["--json"], args].concat());
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let value = serde_json::from_slice(&output.stdout);
        all.push((name, value.unwrap_or_else(|error| panic!("{name}: {error}: {stderr}"))));
    };
    run("gateway add", &["gateway", "add", "lab-1", "--group", "g", "--label", "my-site=b"]);
    run("gateway renew", &["gateway", "renew", "lab-1"]);
    run("gateway add", &["gateway", "add", "lab-2"]);
    run("gateway rename", &["gateway", "rename", "lab-2", "lab-3"]);
    run("check", &["check", folder]);
    run("publish", &["publish", "lab-1", folder]);
    run("publish", &["publish", "@g", "nobody", folder]);
    run("publish --canary", &["publish", "--canary", "lab-1", "--then", "all", folder]);
    run("generations", &["generations", "lab-1"]);
    run("rollback", &["rollback", "lab-1", "1"]);
    run("pin", &["pin", "lab-1"]);
    run("rollback", &["rollback", "lab-1", "2"]);
    run("release", &["release", "lab-1"]);
    let server = TestServer::start(&state);
    assert_eq!(server.get(&state, "/boot/ipxe").status, 302);
    // The server writes its journal before it ends.
    server.terminate();
    let mut server = server;
    server.wait();
    run("status", &["status"]);
    run("status NAME", &["status", "lab-1"]);
    run("status --sync", &["status", "--sync"]);
    run("gateway list", &["gateway", "list"]);
    run("gateway show", &["gateway", "show", "lab-1"]);
    run("gateway set", &["gateway", "set", "@g", "--label", "a=b"]);
    run("iso make", &["iso", "make", "lab-1", "-o", image.to_str().unwrap()]);
    run("gateway revoke", &["gateway", "revoke", "lab-3"]);
    run("gateway remove", &["gateway", "remove", "lab-3"]);
    run("bucket list", &["bucket", "list"]);
    run("pki renew", &["pki", "renew"]);
    run("store sync", &["store", "sync"]);
    run("store new-host", &["store", "new-host", host.to_str().unwrap()]);
    run("doctor", &["doctor"]);
    all
}

/// Whoever reads the documents can rely on the page, and the page on the program.
#[test]
fn every_key_is_documented_and_every_documented_key_is_there() {
    let documented = documented();
    let mut seen: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (command, value) in printed() {
        keys(&value, "", seen.entry(command).or_default());
    }
    for (command, seen) in &seen {
        let expected = documented.get(*command).unwrap_or_else(|| panic!("{command} is missing"));
        let unknown: Vec<_> = seen.iter().filter(|key| !expected.contains_key(*key)).collect();
        assert!(unknown.is_empty(), "{command}: not in docs/json.md: {unknown:?}");
        let missing: Vec<_> = expected
            .iter()
            .filter(|(key, optional)| {
                let below = key
                    .rsplit_once('.')
                    .is_none_or(|(above, _)| seen.contains(above.trim_end_matches("[]")));
                below && !**optional && !seen.contains(*key)
            })
            .collect();
        assert!(missing.is_empty(), "{command}: nobody printed {missing:?}");
        for key in seen {
            let snake =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._[]*".contains(c);
            assert!(key.chars().all(snake), "{command}: {key} is not in snake_case");
        }
    }
    for names in [["not-after", "way-out"], ["held-back", "left-out"]] {
        assert!(names.iter().all(|name| !text().contains(name)));
    }
}

/// A command that nobody describes is found when it is added.
#[test]
fn every_command_has_its_place_in_the_page() {
    let state = TestState::quick();
    let dir = state.dir().join("man");
    state.ok(&["man", "--out-dir", dir.to_str().unwrap()]);
    let pages: BTreeSet<String> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| name.trim_end_matches(".1").to_owned())
        .collect();
    let text = text();
    let mut looked_at = 0;
    for page in &pages {
        let is_folder = pages.iter().any(|other| other.starts_with(&format!("{page}-")));
        let Some(command) = page.strip_prefix("farmgate-").filter(|_| !is_folder) else { continue };
        looked_at += 1;
        // `store-new-host` is `store new-host`: the first hyphen may be a space.
        let spaced = command.replacen('-', " ", 1);
        let named =
            [command.to_owned(), spaced].iter().any(|name| text.contains(&format!("`{name}`")));
        assert!(named, "{command} is not in docs/json.md");
    }
    assert!(looked_at > 25, "{pages:?}");
}

#[test]
fn what_prints_no_facts_refuses_json() {
    let state = TestState::quick();
    for args in [&["serve", "--check"][..], &["nginx-config"], &["completions", "bash"], &["man"]] {
        let output = state.run(&[&["--json"], args].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(output.stdout.is_empty());
        assert!(stderr.contains("--json does not go with"), "{stderr}");
        assert!(stderr.contains(&format!("Usage: farmgate {}", args[0])), "{stderr}");
    }
}
