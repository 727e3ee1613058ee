//! A fleet of 120 in one folder.

use super::Fleet;
use super::current;
use super::state;

#[test]
fn of_120_gateways_3_change_and_3_are_published() {
    let names: Vec<String> = (1..=120).map(|number| format!("lab-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let state = state(&names);
    let fleet = Fleet::new(&names);
    assert!(state.ok(&["plan", fleet.str()]).contains("120 of 120 gateways change"));
    state.ok(&["apply", fleet.str()]);
    let text = "profile = \"debian\"\nvariables = { console = \"hvc0\" }\n";
    for name in ["lab-2", "lab-77", "lab-120"] {
        fleet.write(&format!("gateways/{name}.toml"), text);
    }
    let plan = state.ok(&["plan", fleet.str()]);
    assert!(plan.contains("3 of 120 gateways change"), "{plan}");
    let done = state.json(&["apply", fleet.str()]);
    assert_eq!(done["published"].as_object().unwrap().len(), 3, "{done}");
    assert_eq!((current(&state, "lab-77"), current(&state, "lab-78")), (2.into(), 1.into()));
}
