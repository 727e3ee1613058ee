//! A fleet folder: plan, apply, check.

mod bad_input;
mod downloads;
mod follow;
mod many;
mod removal;
mod waves;

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use serde_json::json;

use crate::common::TestServer;
use crate::common::TestState;
use crate::common::kernel;
pub(crate) use downloads::ok;
pub(crate) use downloads::serve;
pub(crate) use downloads::sha256;

const SCRIPT: &str =
    "#!ipxe\nkernel --timeout 9 vmlinuz panic=30 console=${console}\nboot || reboot\n";

/// A folder that is gone with the test.
pub(crate) struct Fleet(tempfile::TempDir);

impl Fleet {
    /// One profile, for the gateways `names`.
    pub(crate) fn new(names: &[&str]) -> Self {
        let fleet = Self(tempfile::tempdir().unwrap());
        fleet.write("fleet.toml", "[defaults]\nvariables = { console = \"ttyS0\" }\n");
        fleet.write("profiles/debian/boot.ipxe", SCRIPT);
        fs::write(fleet.path("profiles/debian/vmlinuz"), kernel()).unwrap();
        for name in names {
            fleet.write(&format!("gateways/{name}.toml"), "profile = \"debian\"\n");
        }
        fleet
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn str(&self) -> &str {
        self.0.path().to_str().unwrap()
    }
}

/// A state with gateways whose keys are made in no time.
pub(super) fn state(names: &[&str]) -> TestState {
    let state = TestState::with_init(&["--key-type", "p256"]);
    for name in names {
        state.ok(&["gateway", "add", name]);
    }
    state
}

fn current(state: &TestState, name: &str) -> serde_json::Value {
    state.json(&["generations", name])["current"].clone()
}

#[test]
fn what_was_planned_is_applied_and_then_nothing_is_left() {
    let state = state(&["lab-1", "lab-2", "old-1"]);
    let fleet = Fleet::new(&["lab-1", "lab-2", "new-1"]);
    fleet.write(
        "gateways/lab-2.toml",
        "profile = \"debian\"\ngroup = \"home\"\n\
        labels = { site = \"Berlin\" }\nvariables = { console = \"tty0\" }\n",
    );
    let plan = state.json(&["plan", fleet.str()]);
    assert_eq!(plan["gateways"]["lab-1"]["action"], "publish");
    assert_eq!(plan["unregistered"], json!(["new-1"]));
    assert_eq!(plan["absent"], json!(["old-1"]));
    let text = state.ok(&["plan", fleet.str()]);
    for part in [
        "lab-1 (debian): a first generation",
        "+ variable console: \"tty0\"",
        "+ boot.ipxe",
        "group: none → home",
        "2 of 2 gateways change",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert_eq!(state.run(&["plan", "--detailed-exitcode", fleet.str()]).status.code(), Some(2));
    assert_eq!(current(&state, "lab-1"), json!(null), "a plan changes nothing");

    let done = state.ok(&["apply", fleet.str(), "-m", "first"]);
    assert!(done.contains("published for 2 of 2 gateways"), "{done}");
    assert_eq!(current(&state, "lab-1"), 1);
    let shown = state.json(&["gateway", "show", "lab-2"]);
    assert_eq!((&shown["group"], &shown["labels"]["site"]), (&json!("home"), &json!("Berlin")));
    let output = state.run(&["plan", "--detailed-exitcode", fleet.str()]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(state.ok(&["plan", fleet.str()]).contains("nothing changes for 2 gateways"));
    assert!(state.ok(&["apply", fleet.str()]).contains("nothing to publish"));
    assert_eq!(current(&state, "lab-2"), 1, "an unchanged gateway gets no new trial");

    // What a gateway gets.
    let server = TestServer::start(&state);
    let script = server.get_as(&state, "lab-2", "/g/1/boot.ipxe").text();
    assert!(script.ends_with(&format!("set console tty0 ||\n{SCRIPT}")), "{script}");

    // Only those that change get a new generation, and the plan shows how a script changes.
    fleet
        .write("gateways/lab-1.toml", "profile = \"debian\"\nvariables = { console = \"hvc0\" }\n");
    let text = state.ok(&["plan", fleet.str()]);
    assert!(text.contains("~ variable console: \"ttyS0\" → \"hvc0\""), "{text}");
    assert!(text.contains("1 of 2 gateways changes") && !text.contains("lab-2 (debian)"), "{text}");
    state.ok(&["apply", fleet.str()]);
    assert_eq!((current(&state, "lab-1"), current(&state, "lab-2")), (json!(2), json!(1)));
    fleet.write("profiles/debian/boot.ipxe", &SCRIPT.replace("panic=30", "panic=60"));
    let text = state.ok(&["plan", fleet.str()]);
    let changed = "-kernel --timeout 9 vmlinuz panic=30 console=${console}\n      +kernel --timeout 9 \
                   vmlinuz panic=60 console=${console}";
    assert!(text.contains(changed), "{text}");
    assert!(text.contains("2 of 2 gateways change"), "{text}");
    state.ok(&["apply", fleet.str()]);
    let text = state.ok(&["diff", "lab-1"]);
    assert!(text.contains("lab-1: generation 2 → 3") && text.contains("+kernel"), "{text}");
    assert!(state.ok(&["diff", "lab-1", "1"]).contains("~ variable console"));
    assert!(state.ok(&["diff", "lab-1", "3", "3"]).contains("are the same"));
    assert_eq!(state.json(&["diff", "lab-1", "1", "2"])["variables"][0]["after"], "hvc0");
    assert!(state.fails(&["diff", "lab-1", "9"]).contains("no generation 9"));
}

#[test]
fn a_gateways_own_files_lie_over_its_profiles() {
    let state = state(&["lab-1", "lab-2"]);
    let fleet = Fleet::new(&["lab-1", "lab-2"]);
    fleet.write("profiles/extra/notes", "of the profile");
    fleet.write(
        "fleet.toml",
        "[defaults]\nprofile = \"extra\"\nvariables = { console = \"a\" }\n\
        [profiles.extra]\nextends = \"debian\"\nvariables = { console = \"b\" }\n\
        [groups.home]\nvariables = { console = \"c\" }\n",
    );
    fleet.write("gateways/lab-1.toml", "group = \"home\"\n");
    fleet.write("gateways/lab-1/notes", "its own");
    fs::remove_file(fleet.path("gateways/lab-2.toml")).unwrap();
    fleet.write("gateways/lab-2/more", "of lab-2");
    state.ok(&["apply", fleet.str()]);
    let server = TestServer::start(&state);
    let get = |name: &str, path: &str| server.get_as(&state, name, path);
    assert_eq!(get("lab-1", "/g/1/notes").text(), "its own");
    assert_eq!(get("lab-2", "/g/1/notes").text(), "of the profile");
    assert_eq!(get("lab-1", "/g/1/more").status, 404);
    assert_eq!(get("lab-2", "/g/1/more").text(), "of lab-2");
    assert_eq!(get("lab-2", "/g/1/vmlinuz").body, kernel());
    assert!(get("lab-1", "/g/1/boot.ipxe").text().contains("set console c ||"));
    assert!(get("lab-2", "/g/1/boot.ipxe").text().contains("set console b ||"));
}

/// A job that checks a merge request has no boot host.
#[test]
fn an_exported_state_is_enough_for_a_plan() {
    let state = state(&["lab-1", "lab-2"]);
    let fleet = Fleet::new(&["lab-1", "lab-2"]);
    fleet.write("profiles/debian/secrets", "PASSWORD=correct horse\n");
    state.ok(&["apply", fleet.str()]);
    let export = state.ok(&["state", "export"]);
    assert!(!export.contains("correct horse") && !export.contains("PRIVATE"), "{export}");
    let file = fleet.path("state.json");
    fs::write(&file, &export).unwrap();
    let plan = |args: &[&str]| {
        let nowhere = ["--state", "/nonexistent", "plan", "--state-json", file.to_str().unwrap()];
        let output = std::process::Command::new(crate::common::BIN)
            .args([&nowhere[..], args, &[fleet.str()]].concat())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(plan(&["--detailed-exitcode"]).0, Some(0));
    fleet.write("profiles/debian/secrets", "PASSWORD=battery staple\n");
    fleet.write("profiles/debian/boot.ipxe", &SCRIPT.replace("panic=30", "panic=60"));
    let (code, text) = plan(&["--detailed-exitcode"]);
    assert_eq!(code, Some(2));
    assert!(text.contains("~ secrets  (secret)") && text.contains("+kernel"), "{text}");
    assert_eq!(text, state.ok(&["plan", fleet.str()]), "the same as on the boot host");
    let (_, json) = plan(&["--json"]);
    for secret in ["battery", "horse"] {
        assert!(!json.contains(secret) && !text.contains(secret), "{json}{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let secrets = &json["gateways"]["lab-1"]["files"][1];
    assert_eq!(*secrets, json!({ "path": "secrets", "change": "changed" }));
    fs::write(&file, "{\"format\": 1, \"gateways\": 7}").unwrap();
    let output = state.fails(&["plan", "--state-json", file.to_str().unwrap(), fleet.str()]);
    assert!(output.contains("is no export of a state"), "{output}");
}

#[test]
fn a_saved_plan_is_done_as_it_stands_or_not_at_all() {
    let state = state(&["lab-1"]);
    let fleet = Fleet::new(&["lab-1"]);
    let file = fleet.path("plan.json");
    let saved = file.to_str().unwrap();
    let moved = |why: &str| {
        let error = state.fails(&["apply", fleet.str(), "--plan", saved]);
        assert!(error.contains(why) && error.contains("nothing was changed"), "{error}");
    };
    state.ok(&["plan", fleet.str(), "-o", saved]);
    state.ok(&["apply", fleet.str(), "--plan", saved]);
    moved("is not that of the plan");

    fleet.write("profiles/debian/more", "1");
    state.ok(&["plan", fleet.str(), "-o", saved]);
    state.publish("lab-1", 10);
    moved("is not that of the plan");
    state.ok(&["plan", fleet.str(), "-o", saved]);
    fleet.write("profiles/debian/secrets", "A=b\n");
    moved("is not that of the plan");
    state.ok(&["plan", fleet.str(), "-o", saved]);
    state.ok(&["apply", fleet.str(), "--plan", saved]);
    assert_eq!(current(&state, "lab-1"), 3);
    assert!(
        state
            .fails(&["apply", fleet.str(), "--plan", fleet.path("fleet.toml").to_str().unwrap()])
            .contains("is no plan")
    );
}

/// A periodic apply must not undo what somebody did at night.
#[test]
fn what_was_rolled_back_stays_so_until_it_is_asked_for() {
    let state = state(&["lab-1"]);
    let fleet = Fleet::new(&["lab-1"]);
    state.ok(&["apply", fleet.str()]);
    fleet.write("profiles/debian/more", "2");
    state.ok(&["apply", fleet.str()]);
    state.ok(&["rollback", "lab-1"]);
    let text = state.ok(&["plan", fleet.str()]);
    assert!(text.contains("rolled back") && text.contains("nothing changes"), "{text}");
    state.ok(&["apply", fleet.str()]);
    assert_eq!(current(&state, "lab-1"), 1);
    state.ok(&["apply", "--again", fleet.str()]);
    assert_eq!(current(&state, "lab-1"), 3);
    // What comes next is published as ever.
    fleet.write("profiles/debian/more", "3");
    state.ok(&["apply", fleet.str()]);
    assert_eq!(current(&state, "lab-1"), 4);
}

/// All or nothing: one bad gateway, and no other one is published.
#[test]
fn an_error_anywhere_publishes_nothing_anywhere() {
    let state = state(&["lab-1", "lab-2"]);
    let fleet = Fleet::new(&["lab-1", "lab-2"]);
    fleet.write(
        "gateways/lab-2/boot.ipxe",
        "#!ipxe\nkernel --timeout 9 nothing panic=30\nboot || reboot\n",
    );
    let error = state.fails(&["apply", fleet.str()]);
    assert!(error.contains("gateways/lab-2/boot.ipxe:2:20: FG040"), "{error}");
    assert!(error.contains("nothing was changed"), "{error}");
    assert_eq!(current(&state, "lab-1"), json!(null));
    fs::remove_dir_all(fleet.path("gateways/lab-2")).unwrap();
    state.ok(&["apply", fleet.str()]);
    assert_eq!(current(&state, "lab-1"), 1);
}

#[test]
fn findings_say_the_file_the_line_and_the_gateway() {
    let fleet = Fleet::new(&["lab-1", "lab-2"]);
    fleet.write("fleet.toml", "");
    fleet.write(
        "gateways/lab-1.toml",
        "profile = \"debian\"\n[variables]\nconsole = \"a\"\nconsle = \"b\"\n",
    );
    let state = TestState::new();
    let text = state.ok(&["check", fleet.str()]);
    for part in [
        "[FG036] Warning: lab-2: there is no variable `console`",
        "profiles/debian/boot.ipxe:2:45",
        "[FG037] Warning: boot.ipxe does not use the variable `consle`",
        "gateways/lab-1.toml:4:1",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    fleet.write("gateways/lab-1.toml", "profile = \"debian\"\n[variables]\nconsole = \"a\"\n");
    fleet.write("gateways/lab-2.toml", "profile = \"debian\"\n[variables]\nconsole = \"a\"\n");
    assert!(state.ok(&["check", fleet.str()]).contains("nothing found"));
}

/// The page of FG037 shows settings, not scripts.
#[test]
fn the_examples_of_unused_variables_are_right() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/checks/FG037.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks = page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let [bad, good] = blocks.collect::<Vec<_>>()[..] else { panic!("two examples") };
    let fleet = Fleet::new(&[]);
    let state = TestState::new();
    for (example, found) in [(bad, true), (good, false)] {
        fleet.write("fleet.toml", "");
        fleet.write("gateways/lab-1.toml", &format!("profile = \"debian\"\n{example}"));
        assert_eq!(state.ok(&["check", fleet.str()]).contains("FG037"), found, "{example}");
    }
}

#[test]
fn a_certificate_that_the_folder_demands_must_be_the_gateways() {
    let state = state(&["lab-1", "lab-2"]);
    let fleet = Fleet::new(&["lab-1", "lab-2"]);
    let of = |name: &str| {
        let shown = state.json(&["gateway", "show", name]);
        shown["certificates"][0]["fingerprint"].as_str().unwrap().to_owned()
    };
    let settings = |name: &str, fingerprint: &str| {
        let text = format!("profile = \"debian\"\nfingerprint = \"{fingerprint}\"\n");
        fleet.write(&format!("gateways/{name}.toml"), &text);
    };
    settings("lab-1", &of("lab-2"));
    assert!(state.ok(&["plan", fleet.str()]).contains("no valid certificate"));
    let error = state.fails(&["apply", fleet.str()]);
    assert!(error.contains("lab-1: no valid certificate has the `fingerprint`"), "{error}");
    settings("lab-1", &of("lab-1"));
    state.ok(&["apply", fleet.str()]);
}

/// The example is what docs/fleet.md speaks of.
#[test]
fn the_example_is_right_and_every_gateway_of_it_boots() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fleet");
    let example = example.to_str().unwrap();
    let names: Vec<String> = fs::read_dir(Path::new(example).join("gateways"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| name.trim_end_matches(".toml").to_owned())
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    assert_eq!(names.len(), 12);
    let state = state(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let checked = state.ok(&["check", example]);
    assert!(checked.contains("nothing found"), "{checked}");
    let plan = state.ok(&["plan", example]);
    assert!(plan.contains("12 of 12 gateways change") && plan.contains("wave 1: lab-1"), "{plan}");
    let done = state.json(&["apply", example, "-m", "the example"]);
    assert_eq!(done["published"].as_object().unwrap().len(), 12);
    let server = TestServer::start(&state);
    assert_eq!(server.get_as(&state, "lab-1", "/boot/ipxe").status, 302);
    let script = server.get_as(&state, "lab-1", "/g/1/boot.ipxe").text();
    assert!(script.contains("set console ttyS1,115200 ||"), "{script}");
}

#[test]
fn a_damaged_gateway_holds_up_no_other() {
    let state = state(&["lab-1", "lab-2"]);
    let fleet = Fleet::new(&["lab-1", "lab-2"]);
    let record = state.dir().join("gateways/lab-2/gateway.json");
    let good = fs::read(&record).unwrap();
    fs::write(&record, "{").unwrap();
    let text = state.ok(&["plan", fleet.str()]);
    assert!(text.contains("lab-2 cannot be read, and is left out"), "{text}");
    assert!(text.contains("1 of 1 gateway changes"), "{text}");
    let error = state.fails(&["apply", fleet.str()]);
    assert!(error.contains("some gateways were left out") && error.contains("lab-2"), "{error}");
    assert_eq!(current(&state, "lab-1"), 1);
    fs::write(&record, good).unwrap();
    state.ok(&["apply", fleet.str()]);
    assert_eq!(current(&state, "lab-2"), 1);
}
