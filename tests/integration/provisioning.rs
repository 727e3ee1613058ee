//! Commands that can be run again and again, by root for the server's own user, and
//! without a state.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::common::BIN;
use crate::common::TestServer;
use crate::common::TestState;
use crate::ownership::NOBODY;
use crate::ownership::nobodys_state;

#[test]
fn what_is_there_already_is_left_as_it_is() {
    let state = TestState::with_gateway();
    let before = state.json(&["gateway", "show", "lab-1"]);
    state.ok(&["gateway", "add", "lab-1", "--if-missing"]);
    assert_eq!(before, state.json(&["gateway", "show", "lab-1"]));
    assert!(state.fails(&["gateway", "add", "lab-1"]).contains("lab-1"));
    state.ok(&["gateway", "add", "lab-2", "--if-missing"]);

    // A certificate that it does not have yet is added, once.
    state.ok(&["gateway", "renew", "lab-2"]);
    let (certificate, _) = state.credentials("lab-2");
    let own = certificate.to_str().unwrap();
    state.ok(&["gateway", "add", "lab-2", "--if-missing", "--cert", own]);
    let shown = state.json(&["gateway", "show", "lab-2"]);
    assert_eq!(shown["certificates"].as_array().unwrap().len(), 2);

    let folder = state.folder("system", &[("boot.ipxe", b"#!ipxe\nboot\n"), ("vmlinuz", b"1")]);
    let publish = |extra: &[&str]| {
        let args = [&["publish", "lab-1", folder.to_str().unwrap()], extra].concat();
        let done = state.json(&args);
        (done["generation"].as_u64().unwrap(), done["changed"].as_bool().unwrap())
    };
    assert_eq!(publish(&["--if-changed"]), (1, true));
    assert_eq!(publish(&["--if-changed"]), (1, false));
    assert_eq!(publish(&[]), (1, false));
    assert_eq!(publish(&["--force"]), (2, true));
    state.folder("system", &[("vmlinuz", b"2")]);
    assert_eq!(publish(&["--if-changed"]), (3, true));
    state.ok(&["rollback", "lab-1", "1"]);
    // What an operator went back from does not come again by itself.
    assert_eq!(publish(&["--if-changed"]), (3, false));
    state.folder("system", &[("vmlinuz", b"1")]);
    assert_eq!(publish(&["--if-changed"]), (1, false));
    state.folder("system", &[("vmlinuz", b"3")]);
    assert_eq!(publish(&["--if-changed"]), (4, true));
}

/// `sudo farmgate publish` used to leave files that the server's own user could not read.
#[test]
fn what_root_makes_belongs_to_the_owner_of_the_state() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can give files to another user");
        return;
    }
    let state = nobodys_state();
    state.ok(&["gateway", "add", "lab-1"]);
    state.publish("lab-1", 10);
    state.ok(&["gateway", "renew", "lab-1"]);
    state.ok(&["gateway", "add", "lab-2"]);
    state.ok(&["gateway", "revoke", "lab-2"]);
    state.ok(&["pki", "renew"]);
    let server = TestServer::start(&state);
    assert_eq!(server.get(&state, "/boot/ipxe").status, 302);
    drop(server);
    let mut seen = 0;
    every(&state.dir(), &mut |path| {
        let metadata = path.symlink_metadata().unwrap();
        // Names are never opened for writing, only taken away; the socket is gone by itself.
        if metadata.is_file() || metadata.is_dir() {
            seen += 1;
            // What media trust is not the server's to say.
            let pki = path.starts_with(state.dir().join("pki")) && !path.ends_with("server.key");
            let owner = if pki || path.ends_with("cache") { 0 } else { NOBODY };
            assert_eq!(metadata.uid(), owner, "{}", path.display());
        }
    });
    assert!(seen > 20, "only {seen} files");
}

fn every(path: &Path, visit: &mut impl FnMut(&Path)) {
    visit(path);
    if path.is_dir() && !path.is_symlink() {
        for entry in std::fs::read_dir(path).unwrap() {
            every(&entry.unwrap().path(), visit);
        }
    }
}

#[test]
fn a_configuration_of_its_own_makes_a_state_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let (config, state) = (dir.path().join("farmgate.toml"), dir.path().join("state"));
    std::fs::write(&config, "url = \"https://boot.example.org\"\nkey-type = \"p256\"\n").unwrap();
    let run = |args: &[&str]| {
        let output = Command::new(BIN)
            .env("FARMGATE_CONFIG", &config)
            .env("FARMGATE_STATE", &state)
            .args(args)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    // nginx can be configured before there is a state.
    let (ok, said) = run(&["nginx-config"]);
    assert!(ok && said.contains("server_name boot.example.org;"), "{said}");
    let (ok, said) = run(&["init", "--url", "https://other.example.org"]);
    assert!(!ok && said.contains("leave out --url"), "{said}");
    // --config before the command used not to be seen there.
    assert!(run(&["--config", config.to_str().unwrap(), "init"]).0);
    assert!(!state.join("farmgate.toml").exists());
    assert!(run(&["serve", "--check"]).0);
    assert!(run(&["gateway", "add", "lab-1"]).0);
}

#[test]
fn init_for_nginx_opens_the_socket_that_the_unit_has() {
    let state = TestState::with_init(&["--nginx"]);
    let text = std::fs::read_to_string(state.dir().join("farmgate.toml")).unwrap();
    let on = |key: &str| text.lines().any(|line| line.starts_with(key));
    assert!(on("unix = \"/run/farmgate.sock\"") && on("accel") && on("proxy-mark") && !on("tls"));
    let unit = include_str!("../../systemd/farmgate.socket");
    assert!(unit.contains("\nListenStream=/run/farmgate.sock\n"));
    let nginx = state.ok(&["nginx-config"]);
    assert!(nginx.contains("location /farmgate-blobs/ {"), "{nginx}");
}

#[test]
fn a_configuration_can_be_checked_by_itself() {
    let state = TestState::new();
    let config = state.dir().join("farmgate.toml");
    let path = config.to_str().unwrap();
    state.ok(&["check", path]);
    std::fs::write(&config, "url = \"https://a\"\n[listen]\nunix = 7\n").unwrap();
    let error = state.fails_at_length(&["check", path]);
    assert!(error.contains("line 3") && error.contains("farmgate.toml"), "{error}");
}
