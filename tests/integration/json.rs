//! What `--json` prints, compared with docs/json.md key by key.

mod fleet;
mod printed;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::TestState;

/// Tests that hold what a command prints against the page.
const HELD_IN: &[&str] = &[
    include_str!("buckets/b2.rs"),
    include_str!("flash.rs"),
    include_str!("gateway_toml.rs"),
    include_str!("import.rs"),
    include_str!("json/fleet.rs"),
    include_str!("json/printed.rs"),
    include_str!("sync.rs"),
];

/// Keys whose objects have data for keys.
const MAPS: [&str; 9] = [
    "back",
    "damaged",
    "files",
    "gateways",
    "labels",
    "published",
    "removed",
    "scripts",
    "variables",
];

/// Compares what a command printed, in all of `printed` together, with docs/json.md: every key is
/// there, and every key that is not optional was printed.
#[track_caller]
pub(crate) fn hold(command: &str, printed: &[Value]) {
    let mut seen = BTreeSet::new();
    printed.iter().for_each(|value| keys(value, "", &mut seen));
    let documented = documented();
    let expected = documented.get(command).unwrap_or_else(|| panic!("{command} is missing"));
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
    for key in &seen {
        let snake = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._[]*".contains(c);
        assert!(key.chars().all(snake), "{command}: {key} is not in snake_case");
    }
}

/// Runs a command that must succeed, and holds what it prints.
#[track_caller]
pub(crate) fn run(state: &TestState, command: &str, args: &[&str]) -> Value {
    let printed = state.json(args);
    hold(command, std::slice::from_ref(&printed));
    printed
}

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
                let before = keys.insert(key.to_owned(), holds.starts_with("optional"));
                assert_eq!(before, None, "{command}: {key} is there twice");
            }
        }
    }
    all
}

fn text() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json.md")).unwrap()
}

/// Keys with a file of another format, which has keys of its own.
const FOREIGN: [&str; 1] = ["agent_profile"];

/// The paths of all keys in a document.
fn keys(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        _ if FOREIGN.contains(&at) => {}
        Value::Object(map) => {
            let is_map = MAPS.contains(&at.rsplit(['.', ']']).next().unwrap_or(at));
            for (key, value) in map {
                let key = if is_map { "*" } else { key };
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

#[test]
fn old_spellings_are_gone() {
    for name in ["not-after", "way-out", "held-back", "left-out"] {
        assert!(!text().contains(name), "{name}");
    }
}

/// A table that no test holds would be a promise that nobody keeps.
#[test]
fn every_table_is_held_by_a_test() {
    let held: String = HELD_IN.concat().split_whitespace().collect();
    let documented = documented();
    assert!(documented.len() > 45, "{documented:?}");
    for command in documented.keys() {
        let command: String = command.split_whitespace().collect();
        let calls = [
            format!("hold(\"{command}\""),
            format!("run(&state,\"{command}\""),
            format!("run(&other,\"{command}\""),
        ];
        assert!(calls.iter().any(|call| held.contains(call)), "nobody holds {command}");
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
    let (text, documented) = (text(), documented());
    let refuse = ["serve", "nginx-config", "completions", "man"];
    assert!(refuse.iter().all(|command| text.contains(&format!("`{command}`"))));
    let mut looked_at = 0;
    for page in &pages {
        let is_folder = pages.iter().any(|other| other.starts_with(&format!("{page}-")));
        let Some(command) = page.strip_prefix("farmgate-").filter(|_| !is_folder) else { continue };
        looked_at += 1;
        // `store-new-host` is `store new-host`: the first hyphen may be a space.
        let spaced = command.replacen('-', " ", 1);
        let is_named = [command, &*spaced]
            .iter()
            .any(|name| documented.contains_key(*name) || refuse.contains(name));
        assert!(is_named, "{command} is not in docs/json.md");
    }
    assert!(looked_at > 25, "{pages:?}");
}

#[test]
fn what_prints_no_facts_refuses_json() {
    let state = TestState::quick();
    let refused: [(&[&str], &str); 6] = [
        (&["serve", "--check"], "serve"),
        (&["nginx-config"], "nginx-config"),
        (&["completions", "bash"], "completions"),
        (&["man"], "man"),
        (&["get", "lab-1", "1", "boot.ipxe"], "get"),
        (&["state", "backup", "-"], "state backup"),
    ];
    for (args, command) in refused {
        let output = state.run(&[&["--json"], args].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(output.stdout.is_empty());
        assert!(stderr.contains("--json"), "{stderr}");
        assert!(stderr.contains(&format!("Usage: farmgate {command}")), "{stderr}");
    }
}
