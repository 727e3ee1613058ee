//! Root brings in the repository on a state that belongs to the server's user: what git, ssh and
//! farmgate write belongs to that user, and they can do no more than that user could.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::chown;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

use super::configure;
use super::fleet;
use super::generations;
use super::status_file;
use crate::common::TestState;
use crate::common::write_private;
use crate::git::Forge;
use crate::git::http::HttpServer;
use crate::ownership::NOBODY;
use crate::ownership::is_root;
use crate::ownership::nobodys_state;

const LOGIN: &str = "username = \"farm\"\npassword = \"unmistakable-password\"\n";

/// The state of `nobody`, with both gateways.
fn host() -> TestState {
    let state = nobodys_state();
    state.ok(&["gateway", "add", "lab-1"]);
    state.ok(&["gateway", "add", "lab-2"]);
    state
}

/// Everything below `dir`, with its owner.
fn owners(dir: &Path) -> Vec<(PathBuf, u32)> {
    let (mut found, mut open) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(path) = open.pop() {
        let facts = fs::symlink_metadata(&path).unwrap();
        if facts.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        found.push((path, facts.uid()));
    }
    found
}

#[track_caller]
fn all_is_nobodys(state: &TestState) {
    for folder in ["sync", "store", "gateways"] {
        let of_others: Vec<_> = owners(&state.dir().join(folder))
            .into_iter()
            .filter(|(_, uid)| *uid != NOBODY)
            .collect();
        assert!(of_others.is_empty(), "{of_others:?}");
    }
}

#[test]
fn what_root_brings_in_belongs_to_the_states_owner() {
    if !is_root() {
        return;
    }
    let forge = fleet();
    forge.push("two kinds");
    let git = HttpServer::start(forge.path(), Some("farm:unmistakable-password"));
    let state = host();
    let login = state.dir().parent().unwrap().join("login");
    write_private(&login, LOGIN);
    configure(&state, &git.remote(), &format!("credentials = {login:?}"));
    // The service could not read it: root must not do so in its place.
    let error = state.fails(&["sync"]);
    assert!(error.contains("login") && error.contains("Permission denied"), "{error}");
    assert!(!error.contains("unmistakable"), "{error}");
    all_is_nobodys(&state);

    chown(&login, Some(NOBODY), None).unwrap();
    state.ok(&["sync"]);
    assert_eq!(generations(&state), [Some(1), Some(1)]);
    assert_eq!(status_file(&state)["result"], "applied");
    all_is_nobodys(&state);
    assert!(state.dir().join("sync/repository.git/HEAD").exists());

    // The same by hand: root's folder is read with root's rights, and the rest is the owner's.
    let folder = forge.work();
    fs::set_permissions(forge.path(), fs::Permissions::from_mode(0o700)).unwrap();
    forge.write(
        "profiles/debian/boot.ipxe",
        b"#!ipxe\nkernel --timeout 9 vmlinuz panic=45\nboot || reboot\n",
    );
    fs::remove_dir_all(folder.join(".git")).unwrap();
    state.ok(&["apply", folder.to_str().unwrap()]);
    assert_eq!(generations(&state), [Some(2), Some(1)]);
    all_is_nobodys(&state);
}

/// Whoever got hold of the server puts a link in the place of what root writes next.
#[test]
fn links_in_the_place_of_the_copy_lead_root_nowhere() {
    if !is_root() {
        return;
    }
    let forge = fleet();
    forge.push("two kinds");
    // The repository is readable for everybody, as that of a forge is.
    open_for_all(&forge);
    let treasure = tempfile::tempdir().unwrap();
    let roots = treasure.path().join("root-only");
    fs::create_dir(&roots).unwrap();
    fs::write(roots.join("kept"), "as it was").unwrap();
    for folder in [treasure.path(), &roots] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let before = owners(treasure.path());
    for name in ["sync", "sync/repository.git", "sync/home", "sync/status.json", "sync/lock"] {
        let state = host();
        configure(&state, &forge.remote(), "");
        state.ok(&["sync"]);
        let place = state.dir().join(name);
        match place.is_dir() {
            true => fs::remove_dir_all(&place).unwrap(),
            false => fs::remove_file(&place).unwrap(),
        }
        symlink(&roots, &place).unwrap();
        std::os::unix::fs::lchown(&place, Some(NOBODY), Some(NOBODY)).unwrap();
        let _ = state.run(&["sync"]);
        assert_eq!(owners(treasure.path()), before, "{name}");
        assert_eq!(fs::read_to_string(roots.join("kept")).unwrap(), "as it was");
    }
}

/// A hook or a configuration that the owner planted in the copy of the repository is not run, and
/// least of all by root.
#[test]
fn a_program_that_the_owner_planted_is_not_run() {
    if !is_root() {
        return;
    }
    let forge = fleet();
    forge.push("two kinds");
    open_for_all(&forge);
    let state = host();
    configure(&state, &forge.remote(), "");
    state.ok(&["sync"]);
    let copy = state.dir().join("sync/repository.git");
    let (trap, sprung) = (copy.join("trap"), state.dir().join("sync/sprung"));
    fs::write(&trap, format!("#!/bin/sh\nid -u >>{}\n", sprung.display())).unwrap();
    fs::set_permissions(&trap, fs::Permissions::from_mode(0o755)).unwrap();
    let config = fs::read_to_string(copy.join("config")).unwrap();
    let planted = format!(
        "{config}[core]\n\thooksPath = {0}\n\tfsmonitor = {0}\n\tsshCommand = {0}\n[uploadpack]\n\t\
         packObjectsHook = {0}\n[gpg]\n\tprogram = {0}\n",
        trap.display()
    );
    fs::write(copy.join("config"), planted).unwrap();
    chown(copy.join("config"), Some(NOBODY), Some(NOBODY)).unwrap();
    forge.write("gateways/lab-2.toml", b"profile = \"debian\"\n");
    forge.push("one kind");
    state.ok(&["sync"]);
    assert_eq!(generations(&state), [Some(1), Some(2)]);
    assert!(!sprung.exists(), "run as {}", fs::read_to_string(&sprung).unwrap());
}

fn open_for_all(forge: &Forge) {
    fs::set_permissions(forge.path(), fs::Permissions::from_mode(0o755)).unwrap();
}
