//! Faults of a folder: each fault says where and how to mend it, and without it the
//! folder is applied.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use super::Fleet;
use super::state;
use crate::common::TestState;

/// Fails to plan and to apply with `parts` in the message; after `mend`, both work.
#[track_caller]
fn refused(state: &TestState, fleet: &Fleet, parts: &[&str], mend: impl FnOnce()) {
    for command in ["plan", "apply", "check"] {
        let output = state.run(&[command, fleet.str()]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        for part in parts {
            assert!(error.contains(part), "no {part:?} in\n{error}");
        }
        assert!(!error.chars().any(|c| c.is_control() && c != '\n'), "{error:?}");
    }
    mend();
    state.ok(&["plan", fleet.str()]);
    state.ok(&["apply", fleet.str()]);
}

fn fifo_at(path: &std::path::Path) {
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
}

#[test]
fn settings_mark_their_faults() {
    let state = state(&["lab-1"]);
    let fleet = Fleet::new(&["lab-1"]);
    let good = "profile = \"debian\"\n";
    for (text, parts) in [
        (
            "profile = \"debain\"\n",
            &[
                "gateways/lab-1.toml:1:11",
                "1 | profile = \"debain\"",
                "|           ^^^^^^^^",
                "did you mean `debian`?",
            ][..],
        ),
        (
            "profil = \"debian\"\n",
            &["lab-1.toml:1:1: unknown field `profil`", "did you mean `profile`?"],
        ),
        ("profile = 7\n", &["lab-1.toml:1:11", "expected a string"]),
        ("profile = \"debian\"\n[variables]\na = \"b\n", &["lab-1.toml:3:"]),
        (
            "profile = \"debian\"\n[variables]\n\"a b\" = \"c\"\n",
            &["lab-1.toml:3:1", "not a variable name"],
        ),
        (
            "profile = \"debian\"\n[variables]\ntrust = \"c\"\n",
            &["lab-1.toml:3:1", "iPXE's or farmgate's own"],
        ),
        (
            "profile = \"debian\"\n[variables]\na = \"x || shell\"\n",
            &["lab-1.toml:3:5", "before the word `||`"],
        ),
        (
            "profile = \"debian\"\n[variables]\na = \"x\\nshell\"\n",
            &["lab-1.toml:3:5", "control character"],
        ),
        (
            "profile = \"debian\"\n[files]\n\"../x\" = { url = \"https://a/b\", sha256 = \"00\" }\n",
            &["lab-1.toml:3:1: this cannot be the path", "lab-1.toml:3:42: not a SHA-256"],
        ),
        (
            "profile = \"debian\"\n[files]\nx = { url = \"http://example.org/x\", sha256 = \"00\" }\n",
            &["lab-1.toml:3:13", "must begin with https://"],
        ),
        (
            "profile = \"debian\"\n[files]\n\"boot.ipxe\" = { url = \"https://a/b\", sha256 = \"00\" }\n",
            &["must be a file of the folder"],
        ),
        ("", &["gateways/lab-1.toml: it gets no boot.ipxe", "name a `profile`"]),
        (
            "<<<<<<< HEAD\nprofile = \"debian\"\n=======\nprofile = \"nixos\"\n>>>>>>> other\n",
            &["gateways/lab-1.toml:1:1: a merge conflict was left here"],
        ),
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n",
            &["gateways/lab-1.toml: it is a Git LFS pointer"],
        ),
    ] {
        fleet.write("gateways/lab-1.toml", text);
        refused(&state, &fleet, parts, || fleet.write("gateways/lab-1.toml", good));
    }
    fs::write(fleet.path("gateways/lab-1.toml"), b"profile = \"\xff\"\n").unwrap();
    refused(&state, &fleet, &["lab-1.toml: it is not UTF-8"], || {
        fleet.write("gateways/lab-1.toml", good);
    });
    // All faults are said at once.
    fleet.write(
        "gateways/lab-1.toml",
        "profile = \"debian\"\n[variables]\ntrust = \"a\"\nkey = \"b\"\n",
    );
    refused(&state, &fleet, &["toml:3:1", "toml:4:1", "2 faults in the fleet folder"], || {
        fleet.write("gateways/lab-1.toml", good);
    });
}

#[test]
fn fleet_toml_marks_its_faults() {
    let state = state(&["lab-1"]);
    let fleet = Fleet::new(&["lab-1"]);
    for (text, parts) in [
        (
            "[profiles.a]\nextends = \"b\"\n[profiles.b]\nextends = \"a\"\n",
            &["fleet.toml:2:11", "in a circle: b → a → b"][..],
        ),
        (
            "[profiles.debian]\nextends = \"debian\"\n",
            &["fleet.toml:2:11", "in a circle: debian → debian"],
        ),
        (
            "[profiles.a]\nextends = \"debain\"\n",
            &["fleet.toml:2:11: there is no profile `debain`", "`debian`"],
        ),
        (
            "[[waves]]\ngateways = [\"lab-2\"]\n",
            &["fleet.toml:2:13: the folder has no gateway `lab-2`", "did you mean `lab-1`?"],
        ),
        (
            "[[waves]]\ngroups = [\"home\"]\n",
            &["fleet.toml:2:11: no gateway is in the group `home`"],
        ),
        (
            "[defaults]\ngroup = \"hom\"\n[groups.home]\n",
            &["fleet.toml:2:9: fleet.toml has no group `hom`", "`home`"],
        ),
        ("[groups.all]\n", &["fleet.toml:1:9", "@all"]),
        ("[profiles.Big]\n", &["fleet.toml:1:11", "not the name of a profile"]),
        ("max-size = \"1 parsec\"\n", &["fleet.toml:1:12", "is not a size"]),
        ("[[wave]]\n", &["fleet.toml:1:3: unknown field `wave`", "did you mean `waves`?"]),
    ] {
        fleet.write("fleet.toml", text);
        refused(&state, &fleet, parts, || fleet.write("fleet.toml", ""));
    }
}

#[test]
fn a_folder_holds_files_and_nothing_else() {
    let state = state(&["lab-1"]);
    let fleet = Fleet::new(&["lab-1"]);
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("key"), "secret").unwrap();

    let link = fleet.path("profiles/debian/link");
    symlink(outside.path().join("key"), &link).unwrap();
    refused(&state, &fleet, &["profiles/debian/link: it is a symbolic link that leads"], || {
        fs::remove_file(&link).unwrap();
        // One that stays inside is followed.
        symlink("../../gateways/lab-1.toml", &link).unwrap();
    });
    fs::remove_file(&link).unwrap();

    symlink(".", &link).unwrap();
    refused(&state, &fleet, &["folders deep", "loop of symbolic links"], || {
        fs::remove_file(&link).unwrap();
    });

    let fifo = fleet.path("profiles/debian/fifo");
    fifo_at(&fifo);
    refused(&state, &fleet, &["profiles/debian/fifo: it is neither a file nor a folder"], || {
        fs::remove_file(&fifo).unwrap();
    });

    let fifo = fleet.path("gateways/lab-9.toml");
    fifo_at(&fifo);
    refused(&state, &fleet, &["gateways/lab-9.toml: it is neither a file nor a folder"], || {
        fs::remove_file(&fifo).unwrap();
    });

    let odd = fleet.path("profiles/debian").join(OsStr::from_bytes(b"a\xff"));
    fs::write(&odd, "x").unwrap();
    refused(
        &state,
        &fleet,
        &["profiles/debian: it has a file \"a\\xFF\", whose name is not UTF-8"],
        || {
            fs::remove_file(&odd).unwrap();
        },
    );

    fleet.write("profiles/debian/Vmlinuz", "x");
    refused(
        &state,
        &fleet,
        &["profiles/debian/vmlinuz: differs from `Vmlinuz` beside it only in case"],
        || {
            fs::remove_file(fleet.path("profiles/debian/Vmlinuz")).unwrap();
        },
    );
    fleet.write("gateways/lab-1/VMLINUZ", "x");
    refused(&state, &fleet, &["`VMLINUZ` and `vmlinuz` differ only in case"], || {
        fs::remove_dir_all(fleet.path("gateways/lab-1")).unwrap();
    });

    fleet.write("gateways/Lab-2.toml", "");
    refused(&state, &fleet, &["gateways/Lab-2.toml: \"Lab-2\" is not a gateway name"], || {
        fs::remove_file(fleet.path("gateways/Lab-2.toml")).unwrap();
    });
    fleet.write("gateways/lab-2.tml", "");
    refused(&state, &fleet, &["gateways/lab-2.tml: it is neither"], || {
        fs::remove_file(fleet.path("gateways/lab-2.tml")).unwrap();
    });
    fs::remove_file(fleet.path("fleet.toml")).unwrap();
    let output = state.run(&["plan", fleet.str()]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("fleet.toml: there is none"), "{error}");
}

#[test]
fn what_git_leaves_in_place_of_files_is_told() {
    let state = state(&["lab-1"]);
    let fleet = Fleet::new(&["lab-1"]);
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:1234\nsize 9000000\n";
    fleet.write("profiles/debian/initrd", pointer);
    refused(
        &state,
        &fleet,
        &["profiles/debian/initrd: it is a Git LFS pointer", "git lfs pull"],
        || {
            fleet.write("profiles/debian/initrd", "the file itself");
        },
    );

    let script = fleet.path("profiles/debian/boot.ipxe");
    let good = fs::read(&script).unwrap();
    fleet.write(
        "profiles/debian/boot.ipxe",
        "#!ipxe\n<<<<<<< ours\nreboot\n=======\nboot\n>>>>>>> x\n",
    );
    refused(
        &state,
        &fleet,
        &["profiles/debian/boot.ipxe:2:1: a merge conflict", "2 | <<<<<<< ours"],
        || {
            fs::write(&script, &good).unwrap();
        },
    );
    fleet.write("profiles/debian/secrets", "A=b\n<<<<<<< hunter2\n");
    refused(&state, &fleet, &["profiles/debian/secrets:2:1: a merge conflict"], || {
        fleet.write("profiles/debian/secrets", "A=hunter2\n");
    });

    fs::create_dir(fleet.path("profiles/sub")).unwrap();
    fleet.write(".gitmodules", "[submodule \"x\"]\n\tpath = profiles/sub\n\turl = https://a/b\n");
    refused(&state, &fleet, &[".gitmodules:2:1: `profiles/sub` is a git submodule"], || {
        fleet.write(".gitmodules", "[submodule \"x\"]\n\tpath = docs/theme\n\turl = https://a/b\n");
    });
    fleet.write("profiles/sub/.git", "gitdir: ../../.git/modules/sub\n");
    refused(&state, &fleet, &["profiles/sub: it is a git repository of its own"], || {
        fs::remove_file(fleet.path("profiles/sub/.git")).unwrap();
    });
}

/// A gigabyte of holes.
#[test]
fn too_many_bytes_are_refused_before_they_are_read() {
    let state = state(&["lab-1"]);
    let fleet = Fleet::new(&["lab-1"]);
    let big = fs::File::create(fleet.path("profiles/debian/disk.img")).unwrap();
    big.set_len(1_000_000_000).unwrap();
    refused(
        &state,
        &fleet,
        &["profiles/debian/disk.img: the folder has 1000002", "max-size", "URL"],
        || {
            big.set_len(1_000_000).unwrap();
        },
    );
    fleet.write("fleet.toml", "max-size = \"500kB\"\n");
    refused(&state, &fleet, &["more than `max-size` (500000)"], || {
        fleet.write("fleet.toml", "max-size = \"2MB\"\n");
    });
}

#[test]
fn a_certificate_has_one_owner() {
    let state = state(&["lab-1", "lab-2"]);
    let fleet = Fleet::new(&["lab-1", "lab-2"]);
    let shown = state.json(&["gateway", "show", "lab-1"]);
    let fingerprint = shown["certificates"][0]["fingerprint"].as_str().unwrap();
    let text = format!("profile = \"debian\"\nfingerprint = \"{fingerprint}\"\n");
    fleet.write("gateways/lab-1.toml", &text);
    fleet.write("gateways/lab-2.toml", &text);
    refused(
        &state,
        &fleet,
        &["gateways/lab-2.toml:2:15: gateway lab-1 has this certificate"],
        || {
            fleet.write("gateways/lab-2.toml", "profile = \"debian\"\n");
        },
    );
}
