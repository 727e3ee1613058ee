//! Images of a registry that a `gateway.toml` names.

use std::fs;

use super::str;
use crate::common::TestServer;
use crate::common::TestState;
use crate::fleet_folder::Fleet;
use crate::fleet_folder::sha256;
use crate::registry::Registry;
use crate::registry::USER;
use crate::registry::layer;

/// A description of an image of this registry, beside its CA and credentials.
fn of_registry(registry: &Registry, reference: &str) -> String {
    format!(
        "[registry.\"{}\"]\nca = \"registry.crt\"\ncredentials = \"secret:registry\"\n\
         [[container]]\nname = \"gateway\"\nimage = \"{reference}\"\n",
        registry.host()
    )
}

#[test]
fn an_image_is_resolved_and_held_when_it_is_published() {
    let Some(mut registry) = Registry::start() else { return };
    let shared = layer(1, 40_000);
    let v12 = registry.push("farm/gateway:v12", "amd64", &[&shared, &layer(2, 10_000)]);
    let v13 = registry.push("farm/gateway:v13", "amd64", &[&shared, &layer(3, 20_000)]);
    let arm = registry.push("farm/gateway:arm", "arm64", &[&shared]);
    let state = TestState::quick();
    let fleet = Fleet::new(&["lab-1"]);
    fs::remove_file(fleet.path("profiles/debian/boot.ipxe")).unwrap();
    fleet.write("fleet.toml", "");
    fleet.write("profiles/debian/agent.cpio.zst", "070701 and more");
    fleet.write("profiles/debian/secrets", &format!("registry={USER}\n"));
    fs::copy(registry.ca(), fleet.path("profiles/debian/registry.crt")).unwrap();
    let describe = |reference: &str| {
        fleet.write("profiles/debian/gateway.toml", &of_registry(&registry, reference));
    };
    describe(&arm);
    let error = state.fails(&["apply", fleet.str()]);
    assert!(error.contains("gateway lab-1") && error.contains("arm64"), "{error}");
    describe(&v12);
    let plan = state.ok(&["plan", fleet.str()]);
    assert!(plan.contains(&format!("image {v12} added (sha256:")), "{plan}");
    assert!(!plan.contains("oci/blobs"), "{plan}");
    state.ok(&["apply", fleet.str()]);
    let server = TestServer::start(&state);
    let profile: serde_json::Value =
        serde_json::from_slice(&server.get(&state, "/g/1/agent.json").body).unwrap();
    let digest = profile["containers"][0]["image"]["digest"].as_str().unwrap().to_owned();
    let path = format!("/g/1/oci/blobs/{}", digest.replace(':', "/"));
    assert_eq!(format!("sha256:{}", sha256(&server.get(&state, &path).body)), digest);
    assert!(state.ok(&["plan", fleet.str()]).contains("nothing changes"));
    // A folder makes the same of it.
    let folder = fleet.path("profiles/debian");
    assert!(state.ok(&["publish", "lab-1", str(&folder)]).contains("unchanged"));

    describe(&v13);
    let plan = state.ok(&["plan", fleet.str()]);
    let changed =
        format!("image {}/farm/gateway changed from v12 (", registry.host().replace(':', "_"));
    assert!(plan.contains(&changed) && plan.contains(" of ") && plan.contains(" new"), "{plan}");
    let saved = state.dir().join("plan.json");
    state.ok(&["plan", fleet.str(), "-o", str(&saved)]);
    let json = state.json(&["plan", fleet.str()]);
    let image = &json["gateways"]["lab-1"]["images"][0];
    let (new, size) = (image["new"].as_u64().unwrap(), image["size"].as_u64().unwrap());
    assert!(new > 20_000 && new < 40_000 && size > 60_000, "{image}");
    // Nobody is asked, or nobody answers: the plan says so, and goes on.
    let output = state.run(&["plan", "--offline", fleet.str()]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("image not resolved"));
    // A tag that means something else is another plan.
    registry.push("farm/gateway:v13", "amd64", &[&shared, &layer(4, 20_000)]);
    let error = state.fails(&["apply", fleet.str(), "--plan", str(&saved)]);
    assert!(error.contains("is not that of the plan"), "{error}");
    state.ok(&["apply", fleet.str()]);
    let text = state.ok(&["diff", "lab-1"]);
    assert!(text.contains(&changed) && !text.contains("oci/blobs"), "{text}");
    let image = &state.json(&["diff", "lab-1"])["images"][0];
    assert_eq!(image["after"]["reference"], v13.as_str());

    // Without its registry, the gateway has all that it needs, and nothing new can be had.
    registry.stop();
    assert_eq!(server.get(&state, &path).status, 200);
    let output = state.run(&["plan", fleet.str()]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("image not resolved"));
    let error = state.fails(&["publish", "lab-1", str(&folder)]);
    assert!(error.contains("cannot be reached"), "{error}");
    assert_eq!(state.json(&["generations", "lab-1"])["current"], 2);
    state.ok(&["rollback", "lab-1"]);
}
