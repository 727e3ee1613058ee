//! A volume mirrors its bucket.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;

use super::Drive;
use super::Garage;
use super::finish;
use super::mirrored;
use super::push;
use crate::profile::agent::Pull;
use crate::profile::agent::Push;
use crate::profile::agent::Volume;

#[test]
fn it_is_pulled_at_the_start_and_pushed_on_changes_and_at_the_end() {
    let Some(garage) = Garage::start() else { return };
    garage.put("ssh/authorized_keys", "key 1");
    garage.put("a b/ü+%&?#.txt", "strange name");
    let drive = Drive::new();
    let (volumes, said) = drive.boot(&garage, &mirrored());
    assert_eq!(said, "pulled");
    assert_eq!(drive.read("ssh/authorized_keys").as_deref(), Some("key 1"));
    assert_eq!(drive.read("a b/ü+%&?#.txt").as_deref(), Some("strange name"));
    let facts = fs::metadata(drive.at("ssh/authorized_keys")).unwrap();
    assert_eq!((facts.mode() & 0o7777, facts.uid()), (0o640, rustix::process::geteuid().as_raw()));
    assert_eq!(volumes.path("config").unwrap(), drive.at(""));

    drive.write("new/deep/file", "written by the container");
    drive.write("ssh/authorized_keys", "key 2");
    fs::remove_file(drive.at("a b/ü+%&?#.txt")).unwrap();
    assert_eq!(push(&volumes), [""; 0]);
    let content = garage.content();
    assert_eq!(content["new/deep/file"], "written by the container");
    assert_eq!(content["ssh/authorized_keys"], "key 2");
    assert!(!content.contains_key("a b/ü+%&?#.txt"), "{content:?}");

    // Nothing new: nothing is asked of the bucket, and nothing said.
    assert_eq!(push(&volumes), [""; 0]);
    drive.write("at-the-end", "x");
    assert_eq!(finish(&volumes), [""; 0]);
    assert_eq!(garage.content()["at-the-end"], "x");
    drop(volumes);

    // The next boot takes what changed there, and only that.
    let before = fs::metadata(drive.at("new/deep/file")).unwrap().ino();
    garage.put("at-the-end", "y");
    garage.delete("ssh/authorized_keys");
    let (_, said) = drive.boot(&garage, &mirrored());
    assert_eq!(said, "pulled");
    assert_eq!(drive.read("at-the-end").as_deref(), Some("y"));
    assert!(!drive.at("ssh").exists());
    assert_eq!(fs::metadata(drive.at("new/deep/file")).unwrap().ino(), before);
}

#[test]
fn another_drive_gets_the_same_files_with_their_rights() {
    let Some(garage) = Garage::start() else { return };
    let first = Drive::new();
    let (volumes, _) = first.boot(&garage, &mirrored());
    first.write("run", "#!/bin/sh");
    let path = first.at("run");
    let before = fs::metadata(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4750)).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    let owner = if is_root { (1234, 99) } else { (before.uid(), before.gid()) };
    std::os::unix::fs::chown(&path, Some(owner.0), Some(owner.1)).unwrap();
    assert_eq!(push(&volumes), [""; 0]);
    // Larger than one request.
    let large = "0123456789abcdef".repeat(1_200_000);
    first.write("large", &large);
    assert_eq!(push(&volumes), [""; 0]);
    let second = Drive::new();
    assert_eq!(second.boot(&garage, &mirrored()).1, "pulled");
    let facts = fs::metadata(second.at("run")).unwrap();
    // Of its permissions, those that make no program of another user.
    assert_eq!((facts.mode() & 0o7777, (facts.uid(), facts.gid())), (0o750, owner));
    assert_eq!(second.read("large").as_deref(), Some(&*large));
}

#[test]
fn nothing_is_deleted_in_the_bucket_that_was_not_here_complete() {
    let Some(garage) = Garage::start() else { return };
    garage.put("kept", "1");
    garage.put("changed", "1");
    garage.put("gone", "1");
    let drive = Drive::new();
    let (volumes, _) = drive.boot(&garage, &mirrored());
    // What the bucket has since, and what changed there, stays.
    garage.put("later", "2");
    garage.put("changed", "2");
    for name in ["kept", "changed", "gone"] {
        fs::remove_file(drive.at(name)).unwrap();
    }
    drive.write("kept", "1");
    assert_eq!(push(&volumes), [""; 0]);
    assert_eq!(garage.keys(), ["changed", "kept", "later"]);
    drop(volumes);

    // A drive that lost everything, and what it knew, deletes nothing.
    fs::remove_dir_all(drive.at("").parent().unwrap()).unwrap();
    let (volumes, said) = drive.boot(&garage, &Volume { pull: Pull::Never, ..mirrored() });
    assert_eq!(said, "local");
    assert_eq!(finish(&volumes), [""; 0]);
    assert_eq!(garage.keys(), ["changed", "kept", "later"]);
    drop(volumes);

    // Without `delete-remote`, never: it comes back.
    let safe = Volume { delete_remote: false, ..mirrored() };
    let (volumes, _) = drive.boot(&garage, &safe);
    fs::remove_file(drive.at("kept")).unwrap();
    assert_eq!(push(&volumes), [""; 0]);
    assert_eq!(finish(&volumes), [""; 0]);
    assert_eq!(garage.keys(), ["changed", "kept", "later"]);
    drop(volumes);
    drive.boot(&garage, &safe);
    assert_eq!(drive.read("kept").as_deref(), Some("1"));
}

#[test]
fn what_changed_on_both_sides_is_lost_on_none() {
    let Some(garage) = Garage::start() else { return };
    garage.put("file", "1");
    let drive = Drive::new();
    let (volumes, _) = drive.boot(&garage, &mirrored());
    garage.put("file", "from the operator");
    drive.write("file", "from the container");
    drive.write("other", "x");
    let said = push(&volumes);
    assert_eq!(said, ["volume config: not pushed, changed in the bucket as well: file"]);
    assert_eq!(garage.content()["file"], "from the operator");
    assert_eq!(garage.content()["other"], "x");
    drop(volumes);
    let (_, said) = drive.boot(&garage, &mirrored());
    assert_eq!(said, "pulled changed here and in the bucket, set aside: file");
    assert_eq!(drive.read("file").as_deref(), Some("from the operator"));
    let aside = fs::read_dir(drive.at("").parent().unwrap().join("aside")).unwrap();
    let aside: Vec<_> = aside.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(aside.len(), 1);
    assert_eq!(fs::read_to_string(&aside[0]).unwrap(), "from the container");

    // The same content on both sides is no quarrel.
    garage.put("file", "agreed");
    drive.write("file", "agreed");
    let (volumes, said) = drive.boot(&garage, &mirrored());
    assert_eq!(said, "pulled");
    assert_eq!(finish(&volumes), [""; 0]);
}

#[test]
fn what_no_bucket_can_hold_is_named_and_stays() {
    let Some(garage) = Garage::start() else { return };
    let drive = Drive::new();
    let (volumes, _) = drive.boot(&garage, &mirrored());
    drive.write("fine", "x");
    let outside = drive.0.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "not for the bucket").unwrap();
    symlink(&outside, drive.at("link")).unwrap();
    symlink(outside.join("secret"), drive.at("file-link")).unwrap();
    fs::write(drive.at("new\nline"), "x").unwrap();
    std::os::unix::net::UnixListener::bind(drive.at("socket")).unwrap();
    let bad = std::os::unix::ffi::OsStrExt::from_bytes(b"not-\xff-utf8");
    let bad: &std::ffi::OsStr = bad;
    fs::write(drive.at("").join(bad), "x").unwrap();
    let said = push(&volumes);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("volume config: not mirrored: file-link (a symbolic link), link"));
    assert!(said[0].ends_with(" and 2 more") && !said[0].contains('\n'), "{said:?}");
    assert_eq!(garage.keys(), ["fine"]);
    // It is said once, and what was there is there at the next boot.
    assert_eq!(push(&volumes), [""; 0]);
    drop(volumes);
    // Nothing of the bucket is written through a link.
    garage.put("link/secret", "overwritten");
    let (_, said) = drive.boot(&garage, &mirrored());
    assert_eq!(said, "pulled changed here and in the bucket, set aside: link");
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "not for the bucket");
    assert_eq!(drive.read("link/secret").as_deref(), Some("overwritten"));
    assert!(drive.at("socket").exists() && drive.at("new\nline").exists());
}

#[test]
fn a_bucket_with_strange_keys_is_mirrored_as_far_as_it_goes() {
    let Some(garage) = Garage::start() else { return };
    garage.put("a", "a file");
    garage.put("b/c", "x");
    // Keys that are no paths are made by other programs only.
    for strange in ["a/b", "x//y", "dir/"] {
        garage.put_raw(strange);
    }
    let drive = Drive::new();
    let (volumes, said) = drive.boot(&garage, &mirrored());
    assert_eq!(said, "pulled no files' names: x//y, a/b");
    assert_eq!(drive.read("a").as_deref(), Some("a file"));
    assert_eq!(drive.read("b/c").as_deref(), Some("x"));
    drive.write("b/c", "y");
    assert_eq!(finish(&volumes), [""; 0]);
    assert_eq!(garage.content()["b/c"], "y");
}

#[test]
fn a_file_that_is_being_written_is_sent_once_it_is_whole() {
    let Some(garage) = Garage::start() else { return };
    let drive = Drive::new();
    let (volumes, _) = drive.boot(&garage, &mirrored());
    for round in 0..3 {
        // Another content at each look.
        drive.write("busy", &format!("round {round}"));
        volumes.push_changes(&|step| panic!("{step:?}"));
    }
    assert_eq!(garage.keys(), [""; 0]);
    volumes.push_changes(&|step| panic!("{step:?}"));
    assert_eq!(garage.content()["busy"], "round 2");
    // The end waits for nothing.
    drive.write("busy", "the end");
    assert_eq!(finish(&volumes), [""; 0]);
    assert_eq!(garage.content()["busy"], "the end");
}

#[test]
fn each_way_can_be_closed() {
    let Some(garage) = Garage::start() else { return };
    garage.put("there", "1");
    let drive = Drive::new();
    let (volumes, _) = drive.boot(&garage, &Volume { push: Push::Never, ..mirrored() });
    drive.write("here", "x");
    assert_eq!((push(&volumes), finish(&volumes)), (Vec::new(), Vec::new()));
    assert_eq!(garage.keys(), ["there"]);
    drop(volumes);
    let (volumes, _) = drive.boot(&garage, &Volume { push: Push::End, ..mirrored() });
    assert_eq!(push(&volumes), [""; 0]);
    assert_eq!(garage.keys(), ["there"]);
    assert_eq!(finish(&volumes), [""; 0]);
    assert_eq!(garage.keys(), ["here", "there"]);
    drop(volumes);
    // What is never pulled is always right.
    let one_way = Volume { pull: Pull::Never, ..mirrored() };
    let other = Drive::new();
    let (volumes, said) = other.boot(&garage, &one_way);
    assert_eq!(said, "local");
    other.write("there", "from the gateway");
    assert_eq!(finish(&volumes), [""; 0]);
    assert_eq!(garage.content()["there"], "from the gateway");
    assert_eq!(other.read("here"), None);
}
