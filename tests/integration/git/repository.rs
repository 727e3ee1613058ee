//! What is in the repository: honest content, and what must get no further.

use std::process::Command;
use std::time::Duration;

use farmgate::sync::git::Follows;

use super::Forge;
use super::Here;
use crate::common::installed;
use crate::common::skip;

#[test]
fn the_tip_of_the_branch_comes_as_it_is() {
    let forge = Forge::new();
    // Nothing converts it: neither attributes nor the configuration of this host's git.
    forge
        .write(".gitattributes", b"* text eol=crlf\nsecret export-ignore\nid ident export-subst\n");
    forge.write("fleet.toml", b"[a]\n");
    forge.write("secret", b"\0\x01\x02");
    forge.write("id", b"$Id$ $Format:%H$\n");
    forge.write("a/deep \u{e9}/file", &vec![7; 3_000_000]);
    let id = forge.push("lab: first\n\nbody");
    let here = Here::new(&forge.remote());
    let came = here.bring().unwrap();
    assert_eq!(came.commit.id, id);
    assert_eq!(came.commit.author.as_str(), "Ada <ada@example.org>");
    assert_eq!(came.commit.subject.as_str(), "lab: first");
    let content = |path: &str| came.files.iter().find(|(name, _)| name == path).unwrap().1.clone();
    assert_eq!(came.files.len(), 5);
    assert_eq!(content("fleet.toml"), b"[a]\n");
    assert_eq!(content("secret"), b"\0\x01\x02");
    assert_eq!(content("id"), b"$Id$ $Format:%H$\n");

    // A folder of it, a second commit, and again without any change.
    forge.write("farm/fleet/fleet.toml", b"x");
    let second = forge.push("second");
    let mut here = here;
    here.config.folder = Some("farm/fleet".parse().unwrap());
    for _ in 0..2 {
        let came = here.bring().unwrap();
        assert_eq!((came.commit.id.as_str(), came.files.len()), (second.as_str(), 1));
    }
    here.config.folder = Some("farm/none".parse().unwrap());
    assert!(here.fails().contains("has no folder farm/none"));
    here.config.folder = Some("fleet.toml".parse().unwrap());
    assert!(here.fails().contains("has no folder fleet.toml"));
    // Nothing is left lying about.
    let left: Vec<_> =
        std::fs::read_dir(here.dir()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn what_no_fleet_folder_may_have_is_refused_by_name() {
    let forge = Forge::new();
    forge.write("fleet.toml", b"good");
    let good = forge.push("good");
    let here = Here::new(&forge.remote());
    assert_eq!(here.bring().unwrap().commit.id, good);

    let refused = |message: &str, says: &[&str]| {
        forge.push(message);
        let error = here.fails();
        for word in says {
            assert!(error.contains(word), "{message}: {error}");
        }
        forge.git(&["reset", "--quiet", "--hard", &good]);
    };
    std::os::unix::fs::symlink("/etc/passwd", forge.work().join("out")).unwrap();
    refused("absolute link", &["symbolic link out", "leads out of the folder", "/etc/passwd"]);
    std::os::unix::fs::symlink("../../key", forge.work().join("up")).unwrap();
    refused("link up", &["symbolic link up", "leads out of the folder"]);
    forge.write(
        "profiles/debian/initramfs",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    );
    refused("lfs", &["profiles/debian/initramfs", "pointer of Git LFS", "URL and SHA-256"]);
    std::fs::create_dir(forge.work().join("lib")).unwrap();
    forge.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{good},lib")]);
    refused("submodule", &["lib is a submodule"]);
    forge.write("bad\x1b[2Jname", b"x");
    refused("escape", &["control character"]);

    // Inside, a link is fine.
    std::os::unix::fs::symlink("fleet.toml", forge.work().join("inside")).unwrap();
    forge.push("link inside");
    assert_eq!(here.bring().unwrap().files[1], ("inside".to_owned(), b"fleet.toml".to_vec()));
}

#[test]
fn more_than_the_configured_bytes_is_refused_before_it_is_written() {
    let forge = Forge::new();
    // A megabyte of zeros, a hundred times: a few bytes in the repository.
    for number in 0..100 {
        forge.write(&format!("zeros/{number}"), &vec![0; 1_000_000]);
    }
    forge.push("a hundred megabytes");
    let mut here = Here::new(&forge.remote());
    here.config.max_size = "50MB".parse().unwrap();
    let error = here.fails();
    assert!(error.contains("larger than [sync] max-size (50MB)"), "{error}");
    here.config.max_size = "100MB".parse().unwrap();
    assert_eq!(here.bring().unwrap().files.len(), 100);

    // Bytes that cannot be packed, and are not in the tip either: the fetch itself is cut off.
    let noise: Vec<u8> = (0..6_000_000u64)
        .map(|n| {
            (n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31).wrapping_mul(n | 1) >> 40) as u8
        })
        .collect();
    forge.git(&["rm", "--quiet", "-r", "zeros"]);
    forge.write("noise", &noise);
    forge.push("noise");
    forge.git(&["rm", "--quiet", "noise"]);
    forge.push("gone");
    let mut small = Here::new(&forge.remote());
    small.config.max_size = "1MB".parse().unwrap();
    let error = small.fails();
    assert!(error.contains("larger than four times [sync] max-size"), "{error}");
    small.config.max_size = "20MB".parse().unwrap();
    small.bring().unwrap();
}

#[test]
fn a_rewritten_branch_is_noticed_and_its_tip_is_what_counts() {
    let forge = Forge::new();
    forge.write("a", b"1");
    let first = forge.push("first");
    forge.write("a", b"2");
    let second = forge.push("second");
    let mut here = Here::new(&forge.remote());
    here.bring().unwrap();
    assert_eq!([&first, &second].map(|id| here.follows(id)), [Follows::Directly; 2]);
    // Set back, and then another way.
    forge.git(&["reset", "--quiet", "--hard", &first]);
    forge.git(&["push", "--quiet", "--force", "origin", "HEAD:main"]);
    assert_eq!(here.bring().unwrap().commit.id, first);
    assert_eq!(here.follows(&second), Follows::Not);
    forge.write("a", b"3");
    let third = forge.push("third");
    assert_eq!(here.bring().unwrap().files[0].1, b"3");
    assert_eq!(here.follows(&second), Follows::Not);
    assert_eq!(here.follows(&first), Follows::Directly);
    // Nor is what nobody ever saw here an ancestor.
    assert_eq!(here.follows(&"0".repeat(40)), Follows::Not);

    forge.git(&["push", "--quiet", "origin", "HEAD:refs/heads/other"]);
    forge.git(&["push", "--quiet", "origin", ":main"]);
    let error = here.fails();
    assert!(error.contains("no such branch") && error.contains("cannot fetch main"), "{error}");
    here.config.branch = "other".parse().unwrap();
    assert_eq!(here.bring().unwrap().commit.id, third);
}

/// After a power failure the copy of the repository may be torn. Nobody is there to remove it.
#[test]
fn a_damaged_copy_is_fetched_anew() {
    let forge = Forge::new();
    forge.write("a", b"1");
    forge.push("first");
    let here = Here::new(&forge.remote());
    here.bring().unwrap();
    let copy = here.dir().join("repository.git");
    for entry in std::fs::read_dir(copy.join("objects/pack")).unwrap() {
        std::fs::write(entry.unwrap().path(), b"torn").unwrap_or_default();
    }
    std::fs::write(copy.join("packed-refs.lock"), b"").unwrap();
    forge.write("a", b"2");
    forge.push("second");
    assert_eq!(here.bring().unwrap().files[0].1, b"2");
    std::fs::remove_file(copy.join("HEAD")).unwrap();
    assert_eq!(here.bring().unwrap().files[0].1, b"2");
}

/// Neither this host's configuration nor anything in the repository runs a program.
#[test]
fn nothing_in_the_repository_is_executed() {
    let forge = Forge::new();
    let trap = forge.path().join("trap");
    let marker = forge.path().join("sprung");
    std::fs::write(&trap, format!("#!/bin/sh\ntouch {}\n", marker.display())).unwrap();
    let set = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&trap, set).unwrap();
    forge.write(".gitattributes", b"* filter=trap diff=trap merge=trap\n");
    forge.write(".gitmodules", b"[submodule \"x\"]\n\tpath = x\n\turl = ext::sh -c trap\n");
    forge.write(".lfsconfig", b"[lfs]\n\turl = http://127.0.0.1:1\n");
    forge.write("fleet.toml", b"x");
    forge.push("trap");
    let here = Here::new(&forge.remote());
    here.bring().unwrap();
    // Hooks of the copy, as if a template had brought them.
    let hooks = here.dir().join("repository.git/hooks");
    std::fs::create_dir_all(&hooks).unwrap();
    for hook in ["post-checkout", "reference-transaction", "pre-auto-gc", "post-merge"] {
        std::fs::copy(&trap, hooks.join(hook)).unwrap();
    }
    forge.write("fleet.toml", b"y");
    forge.push("again");
    here.bring().unwrap();
    assert!(!marker.exists(), "something of the repository was executed");
}

#[test]
fn a_run_that_is_stopped_ends_at_once_and_says_so() {
    let forge = Forge::new();
    forge.push("first");
    let mut here = Here::new(&forge.remote());
    here.bring().unwrap();
    // A server that never says anything.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/fleet.git", silent.local_addr().unwrap());
    here.config.remote = Some(address.parse().unwrap());
    here.config.timeout = Duration::from_secs(1);
    let error = here.fails();
    assert!(error.contains("did not end within 1 seconds") && error.contains("timeout"), "{error}");
    here.config.timeout = Duration::from_secs(600);
    here.stop.cancel();
    assert!(here.fails().contains("stopped"));
}

#[test]
fn only_the_signature_of_an_allowed_signer_counts() {
    if installed("ssh-keygen").is_none() {
        return skip("signed commits", "ssh-keygen is missing");
    }
    let forge = Forge::new();
    let key = |name: &str| {
        let path = forge.path().join(name);
        let mut make = Command::new("ssh-keygen");
        make.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&path);
        assert!(make.status().unwrap().success());
        (
            path.to_str().unwrap().to_owned(),
            std::fs::read_to_string(path.with_extension("pub")).unwrap(),
        )
    };
    let (ada, eve) = (key("ada"), key("eve"));
    let sign = |message: &str, key: &str| {
        forge.git(&["config", "gpg.format", "ssh"]);
        forge.git(&["config", "user.signingkey", key]);
        forge.push_with(message, &["-S"])
    };
    forge.write("a", b"1");
    forge.push("unsigned");
    let mut here = Here::new(&forge.remote());
    here.bring().unwrap();
    let signers = here.secret("signers", &format!("ada@example.org {}", ada.1));
    here.config.allowed_signers = Some(signers.clone());
    let error = here.fails();
    assert!(error.contains("is not signed by anybody in") && error.contains("Ada"), "{error}");
    let good = sign("by ada", &ada.0);
    assert_eq!(here.bring().unwrap().commit.id, good);
    sign("by eve", &eve.0);
    let error = here.fails();
    assert!(error.contains("is not signed by anybody in"), "{error}");
    // A commit that was signed, and then changed.
    forge.git(&["reset", "--quiet", "--hard", &good]);
    let raw = forge.git(&["cat-file", "commit", "HEAD"]) + "\n";
    let forged = forge.path().join("forged");
    std::fs::write(&forged, raw.replace("by ada", "by eve")).unwrap();
    let id = forge.git(&["hash-object", "-t", "commit", "-w", forged.to_str().unwrap()]);
    forge.git(&["push", "--quiet", "--force", "origin", &format!("{id}:main")]);
    assert!(here.fails().contains("is not signed by anybody in"));
    // An empty file means nobody, not everybody.
    std::fs::write(&signers, " \n").unwrap();
    assert!(here.fails().contains("nobody may sign"));
    std::fs::remove_file(&signers).unwrap();
    assert!(here.fails().contains("allowed-signers"));
}

#[test]
fn openpgp_keys_are_allowed_signers_too() {
    let (Some(gpg), Some(agent)) = (installed("gpg"), installed("gpgconf")) else {
        return skip("commits signed by OpenPGP", "gpg is missing");
    };
    let forge = Forge::new();
    // A short path: the agent's socket has to fit.
    let home = tempfile::Builder::new().prefix("g").tempdir_in("/tmp").unwrap();
    let run = |args: &[&str]| {
        let mut run = Command::new(&gpg);
        run.env("GNUPGHOME", home.path())
            .args(["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""])
            .args(args);
        let output = run.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["--quick-generate-key", "Ada <ada@example.org>", "ed25519", "sign", "never"]);
    run(&["--quick-generate-key", "Eve <eve@example.org>", "ed25519", "sign", "never"]);
    let keys = run(&["--armor", "--export", "ada@example.org"]);
    let signer = forge.path().join("gpg");
    std::fs::write(
        &signer,
        format!("#!/bin/sh\nGNUPGHOME={} exec {} \"$@\"\n", home.path().display(), gpg.display()),
    )
    .unwrap();
    let set = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&signer, set).unwrap();
    forge.git(&["config", "gpg.program", signer.to_str().unwrap()]);
    forge.write("a", b"1");
    let good = forge.push_with("by ada", &["-Sada@example.org"]);
    let mut here = Here::new(&forge.remote());
    here.config.allowed_signers = Some(here.secret("signers.asc", &keys));
    let came = here.bring();
    let bad = forge.push_with("by eve", &["-Seve@example.org"]);
    let refused = here.bring();
    let _ = Command::new(agent).env("GNUPGHOME", home.path()).args(["--kill", "all"]).status();
    assert_eq!(came.unwrap().commit.id, good);
    assert!(format!("{:#}", refused.unwrap_err()).contains(&format!("commit {}", &bad[..12])));
}
