//! From a push to what gateways boot: `farmgate sync`, and the server that does it by itself.

mod as_root;
mod waves;

use std::io::Write;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use serde_json::Value;
use sha2::Sha256;

use crate::common::PATIENCE;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::edit;
use crate::common::kernel;
use crate::common::receive;
use crate::common::write_private;
use crate::git::Forge;
use crate::git::http::HttpServer;
use crate::json;

const SCRIPT: &str = "#!ipxe\nkernel --timeout 9 vmlinuz panic=30\nboot || reboot\n";
const SECRET: &str = "unmistakable-secret-of-a-forge";

/// A fleet of two kinds.
fn fleet() -> Forge {
    let forge = Forge::new();
    forge.write("fleet.toml", b"");
    forge.write("profiles/debian/boot.ipxe", SCRIPT.as_bytes());
    forge.write("profiles/debian/vmlinuz", &kernel());
    forge.write("profiles/other/boot.ipxe", SCRIPT.replace("30", "60").as_bytes());
    forge.write("profiles/other/vmlinuz", &kernel());
    forge.write("gateways/lab-1.toml", b"profile = \"debian\"\n");
    forge.write("gateways/lab-2.toml", b"profile = \"other\"\n");
    forge
}

fn configure(state: &TestState, remote: &str, more: &str) {
    edit(&state.dir().join("farmgate.toml"), |text| {
        format!("{text}\n[sync]\nremote = \"{remote}\"\n{more}\n")
    });
}

/// A boot host with `lab-1` and `lab-2`.
fn host(remote: &str, more: &str) -> TestState {
    let state = TestState::quick();
    state.ok(&["gateway", "add", "lab-2"]);
    let admin = state.dir().join("admin.sock");
    state.set_listen(&format!("admin = \"{}\"", admin.display()));
    configure(&state, remote, more);
    state
}

/// The generation that each gateway gets next.
fn generations(state: &TestState) -> Vec<Option<u64>> {
    let status = state.json(&["status"]);
    status.as_array().unwrap().iter().map(|row| row["generation"].as_u64()).collect()
}

/// The author and the commit of what was published for a gateway, newest last.
fn published(state: &TestState, gateway: &str) -> Vec<Value> {
    let events = state.dir().join("store/gateways");
    let mut found = Vec::new();
    for folder in std::fs::read_dir(events).unwrap().map(Result::unwrap) {
        if !folder.file_name().to_str().unwrap().starts_with(&format!("{gateway}-")) {
            continue;
        }
        for entry in std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let Ok(event) = serde_json::from_str::<Value>(&text) else { continue };
            if text.contains("published") && event["by"].is_object() {
                found.push((entry.file_name(), event["by"].clone()));
            }
        }
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found.into_iter().map(|(_, by)| by).collect()
}

fn status_file(state: &TestState) -> Value {
    serde_json::from_slice(&std::fs::read(state.dir().join("sync/status.json")).unwrap()).unwrap()
}

#[test]
fn a_commit_is_applied_as_a_whole_or_not_at_all() {
    let forge = fleet();
    let first = forge.push("two kinds");
    let state = host(&forge.remote(), "");
    assert!(state.ok(&["status"]).contains("sync: nothing was brought in yet"));
    let before = serde_json::json!({"remote": forge.remote(), "branch": "main"});
    assert_eq!(state.json(&["status", "--sync"]), before);
    let rehearsed = state.ok(&["sync", "--dry-run"]);
    assert!(rehearsed.contains("lab-1") && rehearsed.contains("a first generation"), "{rehearsed}");
    assert_eq!(generations(&state), [None, None]);
    assert!(!state.dir().join("sync/status.json").exists());

    let said = state.ok(&["sync"]);
    assert!(said.contains("lab-1: generation 1") && said.contains("(two kinds) by Ada"), "{said}");
    assert_eq!(generations(&state), [Some(1), Some(1)]);
    let by = &published(&state, "lab-1")[0];
    assert_eq!(by["author"], "Ada <ada@example.org>");
    assert_eq!((&by["commit"], &by["message"]), (&Value::from(first.clone()), &"two kinds".into()));
    let status = status_file(&state);
    assert_eq!(
        (&status["commit"], &status["result"]),
        (&Value::from(first.clone()), &"applied".into())
    );
    assert!(
        state.ok(&["status"]).contains(&format!("sync: in force: {} (two kinds)", &first[..12]))
    );

    // Again: nothing is new.
    assert!(state.ok(&["sync"]).contains("nothing to change"));
    let unchanged = state.json(&["sync"]);
    assert_eq!(unchanged["result"], "unchanged");

    // One gateway's script has a fault, the other's is fine: neither changes.
    forge.write("profiles/debian/boot.ipxe", SCRIPT.replace("30", "45").as_bytes());
    forge.write("profiles/other/boot.ipxe", b"#!ipxe\ngoto nowhere\n");
    let bad = forge.push("a slip");
    let error = state.fails(&["sync"]);
    assert!(error.contains("profiles/other/boot.ipxe:2:") && error.contains("FG024"), "{error}");
    assert!(
        error.contains(&format!("commit {}", &bad[..12])) && !error.contains("/sync/"),
        "{error}"
    );
    assert_eq!(generations(&state), [Some(1), Some(1)]);
    let status = status_file(&state);
    assert_eq!((&status["commit"], &status["result"]), (&Value::from(bad), &"failed".into()));
    assert_eq!(status["good"]["commit"], first);
    let shown = state.ok(&["status"]);
    assert!(shown.contains("sync: FAILED") && shown.contains("still in force"), "{shown}");

    // The same for programs, and for people.
    let shown = json::run(&state, "status --sync", &["status", "--sync"]);
    let mut expected = status_file(&state);
    expected["remote"] = forge.remote().into();
    expected["branch"] = "main".into();
    assert_eq!(shown, expected);
    assert_eq!(shown["good"]["author"], "Ada <ada@example.org>");
    assert_eq!(shown["subject"], "a slip");
    assert!(shown["reason"].as_str().unwrap().contains("FG024"), "{shown}");
    let text = state.ok(&["status", "--sync"]);
    assert!(text.contains("in force since 20") && text.contains("FAILED"), "{text}");

    // Only what changed is published.
    forge.write("profiles/other/boot.ipxe", SCRIPT.replace("30", "60").as_bytes());
    forge.push("mended");
    json::hold("sync", &[unchanged, state.json(&["sync", "--dry-run"]), state.json(&["sync"])]);
    assert_eq!(generations(&state), [Some(2), Some(1)]);

    // The branch is set back to the first commit: its tip is what counts.
    forge.git(&["push", "--quiet", "--force", "origin", &format!("{first}:main")]);
    let output = state.run(&["sync"]);
    assert!(output.status.success());
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("was rewritten or set back"), "{log}");
    assert_eq!(generations(&state), [Some(3), Some(1)]);
}

#[test]
fn what_a_repository_must_not_have_changes_nothing() {
    let forge = fleet();
    let good = forge.push("good");
    let state = host(&forge.remote(), "");
    state.ok(&["sync"]);
    let conflict =
        "<<<<<<< HEAD\nprofile = \"debian\"\n=======\nprofile = \"other\"\n>>>>>>> branch\n";
    type Change<'a> = (&'a str, &'a dyn Fn(), &'a str);
    let changes: [Change<'_>; 5] = [
        (
            "conflict",
            &|| forge.write("gateways/lab-1.toml", conflict.as_bytes()),
            "gateways/lab-1.toml:1:1",
        ),
        (
            "no profile",
            &|| forge.write("gateways/lab-1.toml", b"profile = \"debain\"\n"),
            "did you mean `debian`",
        ),
        (
            "link out",
            &|| {
                std::os::unix::fs::symlink("/etc/passwd", forge.work().join("profiles/debian/x"))
                    .unwrap()
            },
            "leads out of the folder",
        ),
        (
            "lfs",
            &|| {
                forge.write(
                    "profiles/debian/vmlinuz",
                    b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n",
                )
            },
            "Git LFS",
        ),
        (
            "no fleet",
            &|| std::fs::remove_file(forge.work().join("fleet.toml")).unwrap(),
            "fleet.toml",
        ),
    ];
    for (name, change, says) in changes {
        change();
        forge.push(name);
        let error = state.fails(&["sync"]);
        assert!(error.contains(says), "{name}: {error}");
        assert_eq!(generations(&state), [Some(1), Some(1)], "{name}");
        assert_eq!(status_file(&state)["good"]["commit"], good);
        forge.git(&["reset", "--quiet", "--hard", &good]);
    }
    forge.write("profiles/debian/boot.ipxe", SCRIPT.replace("30", "45").as_bytes());
    forge.push("fine again");
    state.ok(&["sync"]);
    assert_eq!(generations(&state), [Some(2), Some(1)]);
}

#[test]
fn a_branch_that_may_only_grow_cannot_be_set_back() {
    let forge = fleet();
    let first = forge.push("first");
    let state = host(&forge.remote(), "fast-forward-only = true");
    state.ok(&["sync"]);
    forge.write("profiles/debian/boot.ipxe", SCRIPT.replace("30", "45").as_bytes());
    forge.push("second");
    state.ok(&["sync"]);
    assert_eq!(generations(&state), [Some(2), Some(1)]);
    forge.git(&["push", "--quiet", "--force", "origin", &format!("{first}:main")]);
    let error = state.fails(&["sync"]);
    assert!(error.contains("fast-forward-only") && error.contains("--allow-rewrite"), "{error}");
    assert_eq!(generations(&state), [Some(2), Some(1)]);
    state.ok(&["sync", "--allow-rewrite"]);
    assert_eq!(generations(&state), [Some(3), Some(1)]);
    state.ok(&["sync"]);
}

#[test]
fn without_a_repository_there_is_nothing_to_bring_in() {
    let state = TestState::quick();
    assert!(state.fails(&["sync"]).contains("[sync] remote"));
    assert!(!state.ok(&["status"]).contains("sync"));
    assert!(state.fails(&["status", "--sync"]).contains("[sync] remote"));
    assert_eq!(state.run(&["status", "--sync", "lab-1"]).status.code(), Some(2));
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// As GitHub does.
fn push_hook(state: &TestState, server: &TestServer, number: u32) -> u16 {
    let body = format!("{{\"ref\": \"refs/heads/main\", \"n\": {number}}}");
    let mut code = <Hmac<Sha256> as KeyInit>::new_from_slice(SECRET.as_bytes()).unwrap();
    code.update(body.as_bytes());
    let code = hex::encode(code.finalize().into_bytes());
    let mut stream = server.tls(state, None);
    let head = format!(
        "POST /update-cfg HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-GitHub-Event: push\r\n\
         X-Hub-Signature-256: sha256={code}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    receive(stream).unwrap().status
}

#[test]
fn the_server_brings_in_what_is_pushed_and_leaves_what_somebody_went_back_from() {
    let forge = fleet();
    forge.push("first");
    let git = HttpServer::start(forge.path(), Some("farm:unmistakable-password"));
    let files = tempfile::tempdir().unwrap();
    let (login, secret) = (files.path().join("login"), files.path().join("secret"));
    write_private(&login, "username = \"farm\"\npassword = \"unmistakable-password\"\n");
    write_private(&secret, SECRET);
    let state = host(
        &git.remote(),
        &format!("interval = \"1d\"\ncredentials = {login:?}\nwebhook-secret = {secret:?}"),
    );
    let server = TestServer::start(&state);
    server.wait_for_log("sync: in force");
    assert_eq!(generations(&state), [Some(1), Some(1)]);
    assert_eq!(server.get(&state, "/boot/ipxe").status, 302);

    forge.write("profiles/debian/boot.ipxe", SCRIPT.replace("30", "45").as_bytes());
    forge.push("second");
    assert_eq!(push_hook(&state, &server, 1), 202);
    wait_until("the second commit", || generations(&state) == [Some(2), Some(1)]);
    let script = server.get(&state, "/g/2/boot.ipxe");
    assert!(script.text().contains("panic=45"), "{}", script.text());

    // At night somebody goes back by hand. The next look changes nothing.
    state.ok(&["rollback", "lab-1"]);
    let before = status_file(&state)["at"].clone();
    assert_eq!(push_hook(&state, &server, 2), 202);
    wait_until("another look", || status_file(&state)["at"] != before);
    assert_eq!(status_file(&state)["result"], "unchanged");
    assert_eq!(generations(&state), [Some(1), Some(1)]);

    // A commit with a fault: gateways boot on, and everybody is told.
    forge.write("profiles/debian/boot.ipxe", b"#!ipxe\ngoto nowhere\n");
    forge.push("a slip");
    assert_eq!(push_hook(&state, &server, 3), 202);
    let line = server.wait_for_log("sync failed, and nothing was changed");
    assert!(line.contains("profiles/debian/boot.ipxe:2:"), "{line}");
    assert_eq!(server.get(&state, "/boot/ipxe").status, 302);
    let ready = state.admin("/readyz");
    assert_eq!(ready.status, 200);
    assert!(ready.text().contains("warning: sync FAILED"), "{}", ready.text());
    assert!(state.admin("/metrics").text().contains("\nfarmgate_sync_failed 1\n"));
    wait_until("the page says so", || state.admin("/").text().contains("sync FAILED at"));

    // The same request again is heard, because the look failed.
    forge.write("profiles/debian/boot.ipxe", SCRIPT.replace("30", "50").as_bytes());
    forge.push("mended");
    assert_eq!(push_hook(&state, &server, 3), 202);
    wait_until("the mended commit", || generations(&state) == [Some(3), Some(1)]);
    wait_until("the status", || status_file(&state)["result"] == "applied");
    assert!(state.admin("/metrics").text().contains("\nfarmgate_sync_failed 0\n"));

    // A gateway that the commit describes already, and that is registered only now.
    forge.write("gateways/lab-3.toml", b"profile = \"debian\"\n");
    forge.push("lab-3 is on its way");
    assert_eq!(push_hook(&state, &server, 4), 202);
    wait_until("lab-3 waits", || status_file(&state)["waiting"] == serde_json::json!(["lab-3"]));
    state.ok(&["gateway", "add", "lab-3"]);
    assert_eq!(push_hook(&state, &server, 5), 202);
    wait_until("lab-3", || generations(&state) == [Some(3), Some(1), Some(1)]);
    let log = server.log_so_far();
    assert!(!log.contains("unmistakable"), "{log}");
    let kept =
        std::process::Command::new("grep").args(["-rl", "unmistakable"]).arg(state.dir()).output();
    assert_eq!(String::from_utf8(kept.unwrap().stdout).unwrap(), "");
}

/// Each looks by itself. Whoever comes second finds it done.
#[test]
fn two_hosts_with_a_common_store_publish_it_once() {
    let forge = fleet();
    forge.push("first");
    let shared = tempfile::tempdir().unwrap();
    let one = TestState::quick();
    one.ok(&["gateway", "add", "lab-2"]);
    edit(&one.dir().join("farmgate.toml"), |text| {
        format!(
            "{text}\n[store]\nurl = \"file://{}\"\ninterval = \"1s\"\n",
            shared.path().display()
        )
    });
    configure(&one, &forge.remote(), "");
    one.ok(&["store", "sync"]);
    let other = one.new_host();
    other.ok(&["store", "sync"]);
    one.ok(&["sync"]);
    one.ok(&["store", "sync"]);
    // The other's server looks into the store before it looks at the repository.
    let server = TestServer::start(&other);
    wait_until("the other host looked", || other.dir().join("sync/status.json").exists());
    assert_eq!(status_file(&other)["result"], "unchanged");
    assert_eq!(generations(&other), [Some(1), Some(1)]);
    // It is in force there as well, with who did it.
    assert_eq!(published(&other, "lab-1").len(), 1);
    forge.write("profiles/other/boot.ipxe", SCRIPT.replace("30", "45").as_bytes());
    forge.push("second");
    drop(server);
    other.ok(&["sync"]);
    other.ok(&["store", "sync"]);
    one.ok(&["store", "sync"]);
    assert!(one.ok(&["sync"]).contains("nothing to change"));
    assert_eq!(generations(&one), [Some(1), Some(2)]);
}

/// A command waits for the server, and the server leaves a command alone.
#[test]
fn one_at_a_time() {
    let forge = fleet();
    forge.push("first");
    let state = host(&forge.remote(), "");
    let run = || {
        let mut command = std::process::Command::new(crate::common::BIN);
        command.arg("--state").arg(state.dir()).arg("sync");
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    };
    let all: Vec<_> = (0..4).map(|_| run()).collect();
    for child in all {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(generations(&state), [Some(1), Some(1)]);
    assert_eq!(published(&state, "lab-1").len(), 1);
    assert!(Path::new(&state.dir().join("sync/lock")).exists());
}
