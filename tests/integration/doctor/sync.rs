//! `doctor` on the git repository: real ones, by file, HTTP and ssh's keys.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use super::Host;
use super::Report;
use crate::common::BIN;
use crate::common::installed;
use crate::common::kernel;
use crate::common::skip;
use crate::common::write_private;
use crate::git::Forge;
use crate::git::http::HttpServer;
use crate::ownership::NOBODY;
use crate::ownership::is_root;
use crate::ownership::nobodys_state;

const SCRIPT: &[u8] = b"#!ipxe\nkernel --timeout 9 vmlinuz panic=30\nboot || reboot\n";

fn fleet() -> (Forge, String) {
    let forge = Forge::new();
    forge.write("fleet.toml", b"");
    forge.write("profiles/debian/boot.ipxe", SCRIPT);
    forge.write("profiles/debian/vmlinuz", &kernel());
    forge.write("gateways/lab-1.toml", b"profile = \"debian\"\n");
    let id = forge.push("first");
    (forge, id)
}

/// A host whose server is down, so that nothing looks but what the test starts.
fn host(sync: &str) -> Host {
    let mut host = Host::new();
    host.stop();
    host.configure(&format!("[sync]\n{sync}"));
    host
}

impl Host {
    fn put(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.state.dir().parent().unwrap().join(name);
        write_private(&path, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn resync(&self, sync: &str) {
        crate::common::edit(&self.state.dir().join("farmgate.toml"), |text| {
            format!("{}[sync]\n{sync}\n", text.split_once("[sync]").unwrap().0)
        });
    }
}

impl Report {
    fn of_sync(&self, verdict: &str) -> Vec<String> {
        let found = self.with(verdict).into_iter().filter(|finding| finding["check"] == "sync");
        found.map(|finding| finding["what"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn without_a_repository_nothing_is_said_of_one() {
    let host = Host::new();
    assert!(host.doctor().findings.iter().all(|finding| finding["check"] != "sync"));
}

#[test]
fn a_repository_that_is_well_and_one_that_is_not() {
    let (forge, first) = fleet();
    let host = host(&format!("remote = \"{}\"", forge.remote()));
    let report = host.doctor();
    let way_out = report.has("warning", "sync", "nothing was brought in yet");
    assert!(way_out.contains("farmgate sync"), "{way_out}");
    report.has("ok", "sync", &format!("main is at {}, and none is in force yet", &first[..12]));
    // It only asks.
    assert!(!host.state.dir().join("sync/repository.git").exists());

    host.state.ok(&["sync"]);
    let report = host.doctor();
    report.has("ok", "sync", &format!("main is at {}, which is in force", &first[..12]));
    report.has("ok", "sync", "git 2.");
    assert!(report.of_sync("warning").is_empty(), "{report:#?}");

    forge.write("profiles/debian/boot.ipxe", b"#!ipxe\ngoto nowhere\n");
    let second = forge.push("a slip");
    let both = format!("main is at {}, and {} is in force", &second[..12], &first[..12]);
    host.doctor().has("ok", "sync", &both);
    host.state.fails(&["sync"]);
    let report = host.doctor();
    report.has("warning", "sync", "no look went well since 20");
    let way_out = report.has("warning", "sync", "profiles/debian/boot.ipxe:2");
    assert!(way_out.contains("boot on"), "{way_out}");

    host.resync(&format!("remote = \"{}\"\nbranch = \"other\"", forge.remote()));
    let way_out = host.doctor().has("warning", "sync", "answers, and has no branch other");
    assert!(way_out.contains("branch"), "{way_out}");
    fs::rename(forge.bare(), forge.path().join("gone.git")).unwrap();
    host.doctor().has("warning", "sync", "no such repository");
}

/// The server looks each five minutes; here it is down for good.
#[test]
fn a_server_that_does_not_look() {
    let (forge, _) = fleet();
    let host = host(&format!("remote = \"{}\"\ninterval = \"1h\"", forge.remote()));
    host.state.ok(&["sync"]);
    let file = host.state.dir().join("sync/status.json");
    let mut status: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let mut looked = |ago: i64| {
        let at = time::OffsetDateTime::now_utc() - time::Duration::hours(ago);
        let at = at.format(&time::format_description::well_known::Rfc3339).unwrap();
        status["at"] = at.into();
        fs::write(&file, status.to_string()).unwrap();
        host.doctor()
    };
    assert!(looked(2).of_sync("warning").is_empty());
    looked(4).has("warning", "sync", "nobody has looked at the repository since");
    fs::write(&file, "{").unwrap();
    host.doctor().has("warning", "sync", "status.json");
}

#[test]
fn credentials_for_the_remote() {
    let (forge, _) = fleet();
    let server = HttpServer::start(forge.path(), Some("farm:unmistakable-password"));
    let host = host(&format!("remote = \"{}\"", server.remote()));
    // As with LoadCredential= of systemd.
    host.doctor().has("skipped", "sync", "only the service has the credentials");
    let login = |password: &str| format!("username = \"farm\"\npassword = \"{password}\"\n");
    let file = host.put("login", &login("unmistakable-guess"), 0o600);
    host.resync(&format!("remote = \"{}\"\ncredentials = {file:?}", server.remote()));
    let report = host.doctor();
    report.has("warning", "sync", "does not take the user name and password");
    assert!(!format!("{report:?}").contains("unmistakable"), "{report:#?}");
    host.put("login", &login("unmistakable-password"), 0o600);
    host.doctor().has("ok", "sync", "answers: main is at");
    host.put("login", &login("unmistakable-password"), 0o640);
    let report = host.doctor();
    let way_out = report.has("warning", "sync", "others may read");
    assert!(way_out.starts_with("chmod 600"), "{way_out}");
    assert!(!format!("{report:?}").contains("unmistakable"), "{report:#?}");
    fs::remove_file(&file).unwrap();
    host.doctor().has("warning", "sync", "([sync] credentials): No such file");

    // Those of the service, by its folder of credentials.
    host.resync(&format!("remote = \"{}\"", server.remote()));
    let folder = host.state.folder("credentials", &[]);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("sync"), login("unmistakable-password")).unwrap();
    fs::write(folder.join("sync-webhook"), "short").unwrap();
    let mut command = Command::new(BIN);
    command.env("CREDENTIALS_DIRECTORY", &folder);
    let report = Report::of(command, &host.state.dir());
    report.has("ok", "sync", "answers: main is at");
    report.has("warning", "sync", "shorter than 16 characters");
}

#[test]
fn a_remote_that_never_answers_keeps_nobody_waiting() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = format!("http://{}/fleet.git", silent.local_addr().unwrap());
    let host = host(&format!("remote = \"{remote}\"\ntimeout = \"1s\""));
    let report = host.doctor();
    assert!(report.of_sync("error").is_empty(), "{report:#?}");
    report.has("warning", "sync", "did not end within 1 seconds");
}

#[test]
fn files_that_the_configuration_names() {
    let (forge, _) = fleet();
    let host = host("");
    let secret = host.put("webhook", "a secret of enough length", 0o600);
    let signers = host.put("signers", "ada@example.org ssh-ed25519 AAAA\n", 0o644);
    host.resync(&format!(
        "remote = \"{}\"\nwebhook-secret = {secret:?}\nallowed-signers = {signers:?}",
        forge.remote()
    ));
    host.state.fails(&["sync"]);
    let warnings = |host: &Host| {
        let mut warnings = host.doctor().of_sync("warning");
        // The commit has no signature.
        warnings.retain(|what| !what.contains("FAILED at"));
        warnings
    };
    assert_eq!(warnings(&host), Vec::<String>::new());
    host.put("signers", "ada@example.org ssh-ed25519 AAAA\n", 0o666);
    assert!(warnings(&host)[0].contains("others may change"), "{:?}", warnings(&host));
    host.put("signers", "ada@example.org ssh-ed25519 AAAA\n", 0o644);
    host.put("webhook", "a secret of enough length", 0o604);
    assert!(warnings(&host)[0].contains("others may read"), "{:?}", warnings(&host));
    host.put("webhook", "short", 0o600);
    assert!(warnings(&host)[0].contains("no forge is heard"), "{:?}", warnings(&host));
    // Nobody waits for whoever writes into a pipe.
    fs::remove_file(&secret).unwrap();
    nix::unistd::mkfifo(&secret, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(warnings(&host)[0].contains("webhook-secret"), "{:?}", warnings(&host));
}

#[test]
fn a_key_for_ssh_that_asks_for_a_passphrase() {
    if installed("ssh-keygen").is_none() {
        return skip("a key with a passphrase", "ssh-keygen is missing");
    }
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = format!("ssh://git@{}/fleet.git", closed.local_addr().unwrap());
    drop(closed);
    let host = host("");
    for (name, passphrase) in [("open", ""), ("closed", "unmistakable")] {
        let key = host.state.dir().parent().unwrap().join(name);
        let mut make = Command::new("ssh-keygen");
        make.args(["-q", "-t", "ed25519", "-N", passphrase, "-f"]).arg(&key);
        assert!(make.status().unwrap().success());
        host.resync(&format!("remote = \"{remote}\"\nssh-key = {key:?}"));
        let asks = host.doctor().of_sync("warning").into_iter();
        let asks = asks.filter(|what| what.contains("has a passphrase")).count();
        assert_eq!(asks, usize::from(!passphrase.is_empty()), "{name}");
    }
    let rubbish = host.put("rubbish", "rubbish", 0o600);
    host.resync(&format!("remote = \"{remote}\"\nssh-key = {rubbish:?}"));
    host.doctor().has("warning", "sync", "ssh-key names no usable key");
}

#[test]
fn a_host_without_git_or_with_an_old_one() {
    let (forge, _) = fleet();
    let host = host(&format!("remote = \"{}\"", forge.remote()));
    let bin = host.state.folder("bin", &[]);
    fs::create_dir_all(&bin).unwrap();
    let doctor = |bin: &Path| {
        let mut command = Command::new(BIN);
        command.env("PATH", bin);
        Report::of(command, &host.state.dir())
    };
    doctor(&bin).has("warning", "sync", "there is no program `git` here: install it");
    for (version, is_old) in [("2.33.9", true), ("2.34.0", false), ("3.0.1", false)] {
        let program = bin.join("git");
        fs::write(&program, format!("#!/bin/sh\necho git version {version}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let report = doctor(&bin);
        let old = report.of_sync("warning").iter().any(|what| what.contains("is too old"));
        assert_eq!(old, is_old, "{report:#?}");
    }
}

/// Root sees what the service sees: its rights are those of the state's owner.
#[test]
fn files_that_only_root_can_read() {
    if !is_root() {
        return;
    }
    let (forge, _) = fleet();
    let state = nobodys_state();
    let secret = state.dir().parent().unwrap().join("webhook");
    write_private(&secret, "a secret of enough length");
    crate::common::edit(&state.dir().join("farmgate.toml"), |text| {
        format!("{text}\n[sync]\nremote = \"{}\"\nwebhook-secret = {secret:?}\n", forge.remote())
    });
    let doctor = || Report::of(Command::new(BIN), &state.dir());
    let way_out = doctor().has("warning", "sync", "([sync] webhook-secret): Permission denied");
    assert!(way_out.contains("chown nobody: "), "{way_out}");
    std::os::unix::fs::chown(&secret, Some(NOBODY), None).unwrap();
    let report = doctor();
    assert!(!format!("{report:?}").contains("webhook-secret"), "{report:#?}");
}
