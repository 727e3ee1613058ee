use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::common::BIN;
use crate::common::TestState;

#[test]
fn keys_are_for_the_owner_alone_whatever_the_umask() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let script = r#"umask 000; "$0" --state "$1" init --url https://a && "$0" --state "$1" gateway add lab-1"#;
    let status = Command::new("sh").args(["-c", script, BIN]).arg(&state).status().unwrap();
    assert!(status.success());
    let mode = |path: &str| fs::metadata(state.join(path)).unwrap().permissions().mode() & 0o7777;
    for directory in ["pki", "gateways", "gateways/lab-1", "store/gateways", "cache"] {
        assert_eq!(mode(directory), 0o700, "{directory}");
    }
    for key in ["pki/ca.key", "pki/server.key", "lock"] {
        assert_eq!(mode(key), 0o600, "{key}");
    }
    let mut keys = 0;
    for entry in fs::read_dir(state.join("gateways/lab-1")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        keys += usize::from(path.extension().is_some_and(|extension| extension == "key"));
    }
    assert_eq!(keys, 1);
}

#[test]
fn init_does_not_overwrite() {
    let state = TestState::new();
    let ca = fs::read(state.dir().join("pki/ca.crt")).unwrap();
    let error = state.fails(&["init", "--url", "https://b"]);
    assert!(error.contains("already holds a farmgate state"), "{error}");
    assert_eq!(fs::read(state.dir().join("pki/ca.crt")).unwrap(), ca);
}

#[test]
fn init_leaves_a_folder_of_somebody_else_alone_and_an_interrupted_one_can_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let run = || {
        let output = Command::new(BIN)
            .arg("--state")
            .arg(dir.path())
            .args(["init", "--url", "https://a"])
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    fs::write(dir.path().join("thesis.txt"), "x").unwrap();
    let (done, error) = run();
    assert!(!done && error.contains("thesis.txt"), "{error}");
    assert!(!dir.path().join("pki").exists());

    // What an interrupted init leaves: everything but the format file.
    fs::remove_file(dir.path().join("thesis.txt")).unwrap();
    assert!(run().0);
    fs::remove_file(dir.path().join("format")).unwrap();
    assert!(run().0);
}

/// What a killed `init` left used to be taken for somebody else's, although it says that it can be
/// run again; and a copy of the CA's key stayed for good.
#[test]
fn an_init_that_was_killed_while_it_wrote_can_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let left = [
        ".farmgate.toml.aB3xYz",
        ".format.000000",
        ".proxy-mark.conf.Zz9Yy8",
        "pki/.ca.key.Qq1Ww2",
        "pki/.crl.pem.AAAAAA",
    ];
    fs::create_dir(dir.path().join("pki")).unwrap();
    for name in left {
        fs::write(dir.path().join(name), "half").unwrap();
    }
    let init = || {
        Command::new(BIN)
            .arg("--state")
            .arg(dir.path())
            .args(["init", "--url", "https://a", "--key-type", "p256"])
            .output()
            .unwrap()
    };
    // Not everything that begins with a dot is ours.
    fs::write(dir.path().join(".farmgate.toml.swp"), "an editor's").unwrap();
    assert!(!init().status.success());
    fs::remove_file(dir.path().join(".farmgate.toml.swp")).unwrap();
    let output = init();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in left {
        assert!(!dir.path().join(name).exists(), "{name}");
    }
}

/// Whoever can write to a directory above can put another state in its place.
#[test]
fn directories_on_the_way_are_for_others_to_read_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &str| {
        let script = format!("umask 000; \"$0\" --state \"$1/a/b/state\" {arguments}");
        let status = Command::new("sh").args(["-c", &script, BIN]).arg(dir.path()).status();
        assert!(status.unwrap().success(), "{arguments}");
    };
    run("init --url https://a --key-type p256");
    run("man --out-dir \"$1/c/d\"");
    for name in ["a", "a/b", "c", "c/d"] {
        let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o022, 0, "{name}");
    }
}

/// `gateway add --csr` of a pipe used to hold the lock for all until somebody wrote to it.
#[test]
fn a_pipe_is_no_request_and_keeps_nobody_waiting() {
    let state = TestState::quick();
    let pipe = state.dir().parent().unwrap().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let pipe = pipe.to_str().unwrap();
    for args in [
        &["gateway", "add", "lab-2", "--csr", pipe][..],
        &["gateway", "add", "lab-2", "--cert", pipe],
        &["gateway", "renew", "lab-1", "--csr", pipe],
        &["gateway", "add", "lab-1", "--if-missing", "--cert", pipe],
        &["iso", "base", "--ca", pipe, "--url", "https://a", "-o", "x.iso"],
        &["iso", "seal", pipe, "--gateway", "lab-1", "-o", "x.iso"],
        &["iso", "verify", pipe],
        &["--config", pipe, "gateway", "list"],
    ] {
        let error = state.fails(args);
        assert!(error.contains("not a regular file") && error.contains(pipe), "{args:?}: {error}");
    }
}

#[test]
fn a_state_of_another_format_is_not_touched() {
    let state = TestState::with_gateway();
    let format = state.dir().join("format");
    fs::write(&format, "2\n").unwrap();
    let error = state.fails(&["gateway", "list"]);
    assert!(error.contains("newer farmgate (format 2, this one knows 1)"), "{error}");
    fs::write(&format, "rubbish").unwrap();
    assert!(state.fails(&["gateway", "list"]).contains("restore"));
    fs::write(&format, "1\n").unwrap();
    state.ok(&["gateway", "list"]);
}

#[test]
fn a_missing_state_names_the_way_to_make_one() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(BIN)
        .arg("--state")
        .arg(dir.path())
        .args(["gateway", "list"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("farmgate init"), "{error}");
}

#[test]
fn a_wrong_configuration_is_named_with_key_and_line() {
    let state = TestState::new();
    state.set_listen("tsl = \"127.0.0.1:1\"");
    let error = state.fails_at_length(&["gateway", "list"]);
    assert!(error.contains("farmgate.toml") && error.contains("tsl"), "{error}");
    assert!(error.contains("line") && error.contains("| ^^^\n"), "{error}");
    assert!(error.ends_with("\ndid you mean `tls`?\n"), "{error}");
}

#[test]
fn the_server_chain_is_one_that_older_ipxe_can_read() {
    let state = TestState::new();
    let pem = fs::read_to_string(state.dir().join("pki/server.crt")).unwrap();
    assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), 2, "iPXE needs the root in the chain");
    let der: usize = pem::parse_many(pem).unwrap().iter().map(|block| block.contents().len()).sum();
    assert!(der < 4096, "{der}");

    let names: Vec<String> = (0..100)
        .flat_map(|i| ["--san".to_owned(), format!("a-rather-long-name-{i}.boot.example.org")])
        .collect();
    let mut args = vec!["init", "--url", "https://a"];
    args.extend(names.iter().map(String::as_str));
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(BIN).arg("--state").arg(dir.path()).args(&args).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("4096"), "{error}");
}

/// A file of a newer farmgate that has another shape used to be called damaged, and the way out of
/// that is to remove it.
#[test]
fn a_file_of_a_newer_farmgate_is_not_called_damaged() {
    let state = TestState::quick();
    let dir = state.dir();
    let record = fs::read(dir.join("gateways/lab-1/gateway.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let id = record["id"].as_str().unwrap();
    fs::create_dir(dir.join("buckets")).unwrap();
    let rollout = "store/rollouts/0192a8c0-0000-7000-8000-000000000001.json";
    fs::create_dir_all(dir.join(rollout).parent().unwrap()).unwrap();
    for (path, command) in [
        (format!("buckets/{id}.json"), ["bucket", "list"]),
        (rollout.to_owned(), ["rollout", "list"]),
        ("gateways/lab-1/gateway.json".to_owned(), ["gateway", "list"]),
    ] {
        let path = dir.join(path);
        for (text, said) in [(r#"{"format": 9, "x": []}"#, "newer farmgate"), ("{", "is damaged")] {
            fs::write(&path, text).unwrap();
            let output = state.run(&command);
            let all = [output.stdout, output.stderr].concat();
            let all = String::from_utf8_lossy(&all);
            assert!(all.contains(said), "{command:?} with {text}: {all}");
        }
        fs::remove_file(&path).unwrap();
    }
}
