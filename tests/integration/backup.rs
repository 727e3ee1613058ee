//! A backup of the state, and a state made from it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use tempfile::TempDir;

use crate::common::BIN;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::installed;
use crate::common::setting_path;
use crate::common::skip;
use crate::terminal::on_terminal;

const SECRET: &[u8] = b"PASSWORD=unmistakable\n";

fn with_generations() -> TestState {
    let state = TestState::quick();
    for content in [1u8, 2] {
        let files = [
            ("boot.ipxe", &b"#!ipxe\nboot\n"[..]),
            ("data", &[content; 5000]),
            ("secrets", SECRET),
        ];
        let folder = state.folder("published", &files);
        state.ok(&["publish", "--force", "lab-1", folder.to_str().unwrap()]);
    }
    state
}

/// An empty place for a state.
fn elsewhere() -> TestState {
    TestState::at(TempDir::new().unwrap())
}

fn backup(state: &TestState, args: &[&str]) -> PathBuf {
    let file = state.dir().with_file_name("backup");
    let _ = fs::remove_file(&file);
    let mut all = vec!["state", "backup", file.to_str().unwrap()];
    all.extend(args);
    state.ok(&all);
    file
}

const IN_CLEAR: [&str; 2] = ["--with-keys", "--keys-in-clear"];

/// Boots `lab-1` with the test client: script, file, secrets, acknowledgement.
fn boot(state: &TestState, server: &TestServer) -> String {
    let location = server.get(state, "/boot/ipxe").header("location").unwrap().to_owned();
    let script = server.get(state, &location).text();
    assert_eq!(server.get(state, &location.replace("boot.ipxe", "data")).body, [2; 5000]);
    let secrets = setting_path(&script, "secrets_url").unwrap();
    assert_eq!(server.get_unix(&secrets, "").body, SECRET);
    let ack = setting_path(&script, "ack_url").unwrap();
    assert_eq!(server.get_unix(&ack, "").status, 200);
    location
}

#[test]
fn a_restored_state_boots_as_before() {
    let state = with_generations();
    let before = {
        let server = TestServer::start(&state);
        let before = boot(&state, &server);
        let file = backup(&state, &IN_CLEAR);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        before
    };
    let file = state.dir().with_file_name("backup");
    let other = elsewhere();
    let done = other.json(&["state", "restore", file.to_str().unwrap()]);
    assert_eq!(done["keys"], true);
    for args in [&["generations", "lab-1"][..], &["gateway", "show", "lab-1"]] {
        assert_eq!(other.json(args), state.json(args), "{args:?}");
    }
    let mode = |path: &str| fs::metadata(other.dir().join(path)).unwrap().mode() & 0o777;
    assert_eq!((mode(""), mode("pki/ca.key"), mode("store/blobs")), (0o711, 0o600, 0o711));
    let server = TestServer::start(&other);
    assert_eq!(boot(&other, &server), before);
    // The server, and every command, can write.
    other.ok(&["gateway", "add", "lab-2"]);
    other.ok(&["rollback", "lab-1"]);
    // A second time it is not empty.
    let line = other.fails(&["state", "restore", file.to_str().unwrap()]);
    assert!(line.contains("is not empty"), "{line}");
    // Nor is a backup overwritten unless told.
    let again = ["state", "backup", file.to_str().unwrap()];
    assert!(state.fails(&again).contains("--force"));
    state.ok(&[&again[..], &["--force"]].concat());
}

#[test]
fn without_being_told_no_key_is_in_it() {
    let state = with_generations();
    let has = |file: &Path, text: &[u8]| {
        fs::read(file).unwrap().windows(text.len()).any(|window| window == text)
    };
    let file = backup(&state, &[]);
    let token_key = fs::read(state.dir().join("token.key")).unwrap_or(b"PRIVATE KEY".to_vec());
    for secret in [&b"PRIVATE KEY"[..], SECRET, &token_key] {
        assert!(!has(&file, secret));
    }
    assert!(has(&file, b"BEGIN CERTIFICATE") && has(&file, &[2; 5000]));
    let file = backup(&state, &IN_CLEAR);
    assert!(has(&file, b"PRIVATE KEY") && has(&file, SECRET));
    for args in [&["--with-keys"][..], &["--keys-in-clear"]] {
        let all = [&["state", "backup", "x"][..], args].concat();
        assert_eq!(state.run(&all).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn keys_are_encrypted_to_a_recipient() {
    if installed("age").is_none() || installed("age-keygen").is_none() {
        return skip("an encrypted backup", "there is no age");
    }
    let state = with_generations();
    let dir = TempDir::new().unwrap();
    let (own, wrong) = (dir.path().join("own"), dir.path().join("wrong"));
    for key in [&own, &wrong] {
        let made = Command::new("age-keygen").arg("-o").arg(key).output().unwrap();
        assert!(made.status.success());
    }
    let shown = Command::new("age-keygen").arg("-y").arg(&own).output().unwrap();
    let recipient = String::from_utf8(shown.stdout).unwrap();
    let file = backup(&state, &["--with-keys", "--recipient", recipient.trim()]);
    let bytes = fs::read(&file).unwrap();
    assert!(bytes.starts_with(b"age-encryption.org/v1"));
    assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET));
    let (other, file) = (elsewhere(), file.to_str().unwrap());
    let line = other.fails(&["state", "restore", file]);
    assert!(line.contains("--identity"), "{line}");
    let restore =
        |key: &Path| other.run(&["state", "restore", file, "--identity", key.to_str().unwrap()]);
    assert!(!restore(&wrong).status.success() && !other.dir().exists());
    let output = restore(&own);
    assert!(output.status.success(), "{output:?}");
    let server = TestServer::start(&other);
    boot(&other, &server);
    // A recipient that is none leaves no file.
    let line = state.run(&["state", "backup", "bad", "--recipient", "age1nobody"]);
    assert!(!line.status.success() && !Path::new("bad").exists());
}

/// A tar file with one more entry.
fn with_entry(file: &Path, edit: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> PathBuf {
    let mut builder = tar::Builder::new(Vec::new());
    edit(&mut builder);
    let mut bytes = builder.into_inner().unwrap();
    // The end of the added part.
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(fs::read(file).unwrap());
    let changed = file.with_file_name("changed");
    fs::write(&changed, bytes).unwrap();
    changed
}

fn header(kind: tar::EntryType, path: &str) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    // The library itself refuses strange paths.
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header
}

#[test]
fn a_strange_tar_file_is_refused() {
    let state = with_generations();
    let file = backup(&state, &IN_CLEAR);
    let other = elsewhere();
    let refused = |changed: &Path, words: &str| {
        let line = other.fails(&["state", "restore", changed.to_str().unwrap()]);
        assert!(line.contains(words), "{words}: {line}");
        // Nothing is left, neither the state nor an unfinished one.
        assert_eq!(fs::read_dir(other.dir().parent().unwrap()).unwrap().count(), 0);
    };
    for (kind, path, words) in [
        (tar::EntryType::Symlink, "pki", "no regular file"),
        (tar::EntryType::Link, "pki/ca.crt", "no regular file"),
        (tar::EntryType::Char, "lock", "no regular file"),
        (tar::EntryType::Fifo, "lock", "no regular file"),
        (tar::EntryType::Directory, "other/", "no regular file"),
        (tar::EntryType::Regular, "../escaped", "does not belong"),
        (tar::EntryType::Regular, "/tmp/escaped", "does not belong"),
        (tar::EntryType::Regular, "gateways/../farmgate.toml", "does not belong"),
        (tar::EntryType::Regular, "store/commit.log", "does not belong"),
        (tar::EntryType::Regular, "farmgate.toml", "twice"),
    ] {
        let changed = with_entry(&file, |tar| {
            let mut header = header(kind, path);
            if matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link) {
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_cksum();
            tar.append(&header, std::io::empty()).unwrap();
        });
        refused(&changed, words);
    }
    // Half of it, and one with another byte in a file of a generation.
    let whole = fs::read(&file).unwrap();
    let changed = file.with_file_name("changed");
    for half in [whole.len() / 2, whole.len() / 2 / 512 * 512, 0] {
        fs::write(&changed, &whole[..half]).unwrap();
        refused(&changed, "cannot use");
    }
    let at = whole.windows(5000).position(|window| window == [2; 5000]).unwrap();
    let mut damaged = whole.clone();
    damaged[at] = 3;
    fs::write(&changed, damaged).unwrap();
    refused(&changed, "damaged");
    other.ok(&["state", "restore", file.to_str().unwrap()]);
}

/// Gateways boot all the time; what was backed up is a state that could be looked at.
#[test]
fn a_backup_during_boots_is_a_whole_state() {
    let state = with_generations();
    let server = TestServer::start(&state);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                for _ in 0..10 {
                    // One that finds the folder locked is asked to come again.
                    let reply = server.get(&state, "/boot/ipxe");
                    assert!([302, 503].contains(&reply.status), "{}", reply.text());
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..5 {
                let file = backup(&state, &IN_CLEAR);
                let other = elsewhere();
                other.ok(&["state", "restore", file.to_str().unwrap()]);
                let rows = other.json(&["generations", "lab-1"]);
                assert_eq!((&rows["current"], &rows["next"]["generation"]), (&2.into(), &2.into()));
                other.ok(&[
                    "get",
                    "lab-1",
                    "2",
                    "data",
                    "-o",
                    other.dir().join("x").to_str().unwrap(),
                ]);
                let findings = other.run(&["--json", "doctor"]).stdout;
                let findings: serde_json::Value = serde_json::from_slice(&findings).unwrap();
                let of_gateways = findings.as_array().unwrap().iter();
                let wrong: Vec<_> = of_gateways
                    .filter(|finding| {
                        finding["check"] == "gateways" && finding["verdict"] == "error"
                    })
                    .collect();
                assert!(wrong.is_empty(), "{wrong:?}");
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    });
    assert!(stop.into_inner());
}

#[test]
fn a_killed_backup_leaves_no_file() {
    let state = with_generations();
    // It waits for its reader in the middle.
    let big = vec![7; 3_000_000];
    let folder = state.folder("big", &[("boot.ipxe", b"#!ipxe\nboot\n"), ("data", &big)]);
    state.ok(&["publish", "lab-1", folder.to_str().unwrap()]);
    let out = TempDir::new().unwrap();
    for nth in 0..6u64 {
        let file = out.path().join("backup");
        let mut command = Command::new(BIN);
        command.arg("--state").arg(state.dir()).args(["state", "backup"]).arg(&file);
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(3 * nth * nth));
        let _ = child.kill();
        child.wait().unwrap();
        let left: Vec<_> = fs::read_dir(out.path()).unwrap().map(|e| e.unwrap().path()).collect();
        match &left[..] {
            [] => {}
            // It was faster: then it is whole.
            [one] => {
                assert_eq!(one, &file);
                elsewhere().ok(&["state", "restore", file.to_str().unwrap()]);
                fs::remove_file(file).unwrap();
            }
            more => panic!("{more:?}"),
        }
    }
}

#[test]
fn a_backup_goes_through_pipes() {
    let state = with_generations();
    let written = state.run(&["state", "backup", "-", "--with-keys", "--keys-in-clear"]);
    assert!(written.status.success());
    let other = elsewhere();
    let mut command = Command::new(BIN);
    command.arg("--state").arg(other.dir()).args(["state", "restore", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&written.stdout).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(other.json(&["generations", "lab-1"]), state.json(&["generations", "lab-1"]));
}

fn age_key(at: &Path) -> String {
    let made = Command::new("age-keygen").arg("-o").arg(at).output().unwrap();
    assert!(made.status.success());
    let shown = Command::new("age-keygen").arg("-y").arg(at).output().unwrap();
    String::from_utf8(shown.stdout).unwrap()
}

/// A timer at night, and a rehearsal of the restore by another.
#[test]
fn with_keys_and_encrypted_it_needs_no_terminal() {
    for program in ["age", "age-keygen", "ssh-keygen", "setsid"] {
        if installed(program).is_none() {
            return skip("an encrypted backup", &format!("there is no {program}"));
        }
    }
    let state = with_generations();
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (own, ssh, team, file) = (path("own"), path("ssh"), path("team"), path("farm.age"));
    let mut recipients = age_key(Path::new(&own));
    let made = ["-q", "-t", "ed25519", "-N", "", "-f", &ssh];
    assert!(Command::new("ssh-keygen").args(made).status().unwrap().success());
    recipients += &fs::read_to_string(path("ssh.pub")).unwrap();
    fs::write(&team, recipients).unwrap();
    // No process of its session has a terminal.
    let alone = |state: &TestState, args: &[&str]| {
        let mut command = Command::new("setsid");
        command.args(["--wait", BIN, "--state"]).arg(state.dir()).args(args);
        command.stdin(Stdio::null()).output().unwrap()
    };
    let args = ["state", "backup", &file, "--force", "--with-keys", "--recipients-file", &team];
    for _ in 0..2 {
        let output = alone(&state, &args);
        assert!(output.status.success(), "{output:?}");
    }
    assert!(!fs::read(&file).unwrap().windows(SECRET.len()).any(|window| window == SECRET));
    for key in [&own, &ssh] {
        let other = elsewhere();
        let output = alone(&other, &["state", "restore", &file, "--identity", key]);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(other.json(&["generations", "lab-1"]), state.json(&["generations", "lab-1"]));
    }
    // What has to be asked for fails at once, and leaves nothing.
    let output = alone(&state, &["state", "backup", &path("asks"), "--with-keys", "--passphrase"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!Path::new(&path("asks")).exists());
}

#[test]
fn a_passphrase_is_asked_for_on_the_terminal() {
    for program in ["age", "script"] {
        if installed(program).is_none() {
            return skip("a backup with a passphrase", &format!("there is no {program}"));
        }
    }
    let state = with_generations();
    let file = state.dir().with_file_name("farm.age");
    let on_terminal = |state: &TestState, words: &str, answers: &[&str]| {
        let command = format!("{BIN} --state {} state {words}", state.dir().display());
        let mut child = on_terminal(&command).spawn().unwrap();
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut seen = Vec::new();
        for answer in answers {
            // Each question ends with a colon. What is typed before it is asked for is lost.
            let mut byte = [0];
            while std::io::Read::read(&mut output, &mut byte).unwrap() == 1 {
                seen.push(byte[0]);
                if byte == *b":" {
                    break;
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(200));
            input.write_all(format!("{answer}\n").as_bytes()).unwrap();
        }
        std::io::Read::read_to_end(&mut output, &mut seen).unwrap();
        (child.wait().unwrap().code(), String::from_utf8_lossy(&seen).into_owned())
    };
    let words = format!("backup {} --with-keys --passphrase", file.display());
    let (status, text) = on_terminal(&state, &words, &["unmistakable", "unmistakable"]);
    assert_eq!(status, Some(0), "{text}");
    let head = b"age-encryption.org/v1\n-> scrypt ";
    assert!(fs::read(&file).unwrap().starts_with(head));
    let other = elsewhere();
    let words = format!("restore {} --yes", file.display());
    let (status, text) = on_terminal(&other, &words, &["wrong"]);
    assert!(status == Some(1) && !other.dir().exists(), "{text}");
    let (status, text) = on_terminal(&other, &words, &["unmistakable"]);
    assert_eq!(status, Some(0), "{text}");
    assert_eq!(other.json(&["generations", "lab-1"]), state.json(&["generations", "lab-1"]));
    // By a pipe, nobody could answer.
    let mut command = Command::new(BIN);
    command.arg("--state").arg(elsewhere().dir()).args(["state", "restore", "-"]);
    let output = command.stdin(fs::File::open(&file).unwrap()).output().unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && line.contains("age --decrypt"), "{line}");
}
