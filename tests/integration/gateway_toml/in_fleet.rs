//! Fleet folders with a `gateway.toml`.

use std::fs;

use super::DESCRIPTION;
use super::SECRETS;
use super::folder;
use super::images;
use super::leased;
use super::str;
use crate::common::TestServer;
use crate::common::TestState;
use crate::fleet_folder::Fleet;

/// A fleet whose profile has a description.
fn fleet(names: &[&str]) -> Fleet {
    let fleet = Fleet::new(names);
    fs::remove_file(fleet.path("profiles/debian/boot.ipxe")).unwrap();
    fleet.write("fleet.toml", "");
    fleet.write("profiles/debian/gateway.toml", DESCRIPTION);
    fleet.write("profiles/debian/agent.cpio.zst", "070701 and more");
    fleet.write("profiles/debian/secrets", std::str::from_utf8(SECRETS).unwrap());
    images(&fleet.path("profiles/debian"));
    fleet
}

#[test]
fn a_fleet_folder_has_descriptions_in_profiles_and_gateways() {
    let state = TestState::quick();
    for name in ["lab-2", "lab-3"] {
        state.ok(&["gateway", "add", name]);
    }
    let fleet = fleet(&["lab-1", "lab-2", "lab-3"]);
    // One of its own, and one that boots in another way.
    let own = DESCRIPTION.replace("v12", "v13");
    fleet.write("gateways/lab-2/gateway.toml", &own);
    fleet.write("gateways/lab-3/boot.ipxe", "#!ipxe\nkernel --timeout 9 vmlinuz panic=30\nboot\n");
    let checked = state.ok(&["check", fleet.str()]);
    assert!(checked.contains("nothing found"), "{checked}");
    let plan = state.ok(&["plan", fleet.str()]);
    for part in ["+ agent.json", "+ boot.ipxe", "+ gateway.toml", "+ secrets  (secret)"] {
        assert!(plan.contains(part), "no {part:?} in\n{plan}");
    }
    assert!(!plan.contains("correct-horse"));
    state.ok(&["apply", fleet.str()]);
    assert!(state.ok(&["plan", fleet.str()]).contains("nothing changes for 3 gateways"));
    let server = TestServer::start(&state);
    for (name, tag) in [("lab-1", "v12"), ("lab-2", "v13")] {
        let profile = server.get_as(&state, name, "/g/1/agent.json").text();
        assert!(profile.contains(&format!("oci:images/{tag}")), "{name}: {profile}");
        let script = server.get_as(&state, name, "/g/1/boot.ipxe").text();
        assert!(leased(&server, &script).contains(&format!("FARMGATE_GATEWAY={name}\n")));
    }
    assert_eq!(server.get_as(&state, "lab-3", "/g/1/agent.json").status, 404);
    assert!(server.get_as(&state, "lab-3", "/g/1/boot.ipxe").text().ends_with("panic=30\nboot\n"));

    // A change is shown where it was made.
    fleet.write("profiles/debian/gateway.toml", &DESCRIPTION.replace("v12", "v14"));
    let plan = state.ok(&["plan", fleet.str()]);
    assert!(plan.contains("+image = \"oci:images/v14\""), "{plan}");
    assert!(plan.contains("1 of 3 gateways changes"), "{plan}");
    // A folder and a fleet folder make the same files of the same description.
    let dir = folder(&state, "f", &DESCRIPTION.replace("v12", "v14"), &[("secrets", SECRETS)]);
    state.ok(&["apply", fleet.str()]);
    assert!(state.ok(&["publish", "lab-1", str(&dir)]).contains("unchanged"));
}

#[test]
fn faults_of_a_fleet_folder_name_its_files() {
    let state = TestState::quick();
    let fleet = fleet(&["lab-1"]);
    let refused = |part: &str| {
        for command in ["plan", "apply", "check"] {
            let output = state.run(&[command, fleet.str()]);
            let error = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{command}: {error}");
            assert!(error.contains(part), "{command}: {error}");
            assert!(!error.contains("correct-horse"));
        }
    };
    fleet.write("gateways/lab-1/gateway.toml", &DESCRIPTION.replace("[kernel]", "[kernal]"));
    refused("gateways/lab-1/gateway.toml:1:2: FG060 unknown field `kernal`");
    refused("did you mean `kernel`?");
    fleet.write("gateways/lab-1/gateway.toml", DESCRIPTION);
    fleet.write("profiles/debian/secrets", "tokn=correct-horse\n");
    refused("gateways/lab-1/gateway.toml:7:9: FG062 the file `secrets` has no line `token=`");
    fleet.write("profiles/debian/secrets", "token=correct-horse\ncorrect-horse\n");
    refused("profiles/debian/secrets:2:1: FG061 this line has no `=`");
    fleet.write("profiles/debian/secrets", "token=correct-horse\n");
    fleet.write("gateways/lab-1/boot.ipxe", "#!ipxe\nboot\n");
    refused("FG064 farmgate makes `boot.ipxe`");
    fs::remove_file(fleet.path("gateways/lab-1/boot.ipxe")).unwrap();
    state.ok(&["apply", fleet.str()]);
    // Without its file, the name of a secret is only right if the boot host has secrets.
    fs::remove_file(fleet.path("profiles/debian/secrets")).unwrap();
    assert!(state.fails(&["apply", fleet.str()]).contains("FG062"));
    let templates = state.folder("templates", &[("lab-1", b"token=of-the-host")]);
    state.set_listen(&format!("[secrets]\ndir = {templates:?}"));
    state.ok(&["apply", fleet.str()]);
}
