//! Commands about a fleet folder.

use serde_json::Value;

use super::hold;
use super::run;
use crate::common::TestState;
use crate::common::kernel;

const SCRIPT: &[u8] = b"#!ipxe\nkernel --timeout 9 vmlinuz panic=30 ${a} ||\nboot\n";

#[test]
fn a_plan_and_what_came_of_it() {
    let state = TestState::quick();
    state.ok(&["gateway", "set", "lab-1", "--group", "g", "--label", "old=1"]);
    state.ok(&["gateway", "add", "lab-2"]);
    state.ok(&["gateway", "add", "absent"]);
    let before = state.folder("f", &[("boot.ipxe", b"#!ipxe\nboot\n"), ("old", b"x")]);
    state.ok(&["publish", "lab-1", "--set", "a=0", before.to_str().unwrap()]);
    let fleet = state.dir().with_file_name("fleet");
    let write = |path: &str, bytes: &[u8]| {
        let path = fleet.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    write("fleet.toml", b"[groups.h]\n[[waves]]\ngateways = [\"lab-1\"]\n");
    write("profiles/p/boot.ipxe", SCRIPT);
    write("profiles/p/vmlinuz", &kernel());
    let one =
        "profile = \"p\"\ngroup = \"h\"\nlabels = { new = \"2\" }\nvariables = { a = \"1\" }\n";
    write("gateways/lab-1.toml", one.as_bytes());
    for name in ["lab-2", "unregistered"] {
        write(&format!("gateways/{name}.toml"), b"profile = \"p\"\nvariables = { a = \"1\" }\n");
    }
    let fleet = fleet.to_str().unwrap();
    let plan = run(&state, "plan", &["plan", fleet]);
    let files = plan["gateways"]["lab-1"]["files"].as_array().unwrap();
    let changes: Vec<_> = files.iter().map(|file| &file["change"]).collect();
    assert_eq!(changes, ["changed", "removed", "added"]);
    let removing = run(&state, "plan", &["plan", "--remove-absent", fleet]);
    assert!(removing["removed"]["absent"].is_string(), "{removing}");
    let applied = run(&state, "apply", &["apply", fleet]);
    assert!(applied["rollout"].is_string(), "{applied}");
    let again: [Value; 2] = [state.json(&["plan", fleet]), applied];
    hold("plan", &again[..1]);
    assert_eq!(again[0]["waves"], serde_json::json!([]));
    let removed = state.json(&["apply", "--remove-absent", "--yes", fleet]);
    assert_eq!(removed["removed"], serde_json::json!(["absent"]));
    hold("apply", &[again[1].clone(), removed]);
}
