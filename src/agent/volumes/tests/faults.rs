//! The bucket is away or full, and the power is cut.

use std::fs;

use super::super::copy::Copy;
use super::Drive;
use super::Garage;
use super::finish;
use super::mirrored;
use super::push;

#[test]
fn without_the_bucket_it_is_the_last_copy_and_nothing_is_lost_after() {
    let Some(mut garage) = Garage::start() else { return };
    garage.put("file", "1");
    garage.put("other", "1");
    let drive = Drive::new();
    drop(drive.boot(&garage, &mirrored()));
    garage.put("other", "2");
    garage.stop();
    let (volumes, said) = drive.boot(&garage, &mirrored());
    assert!(said.starts_with("last-copy not pulled: "), "{said}");
    assert_eq!(drive.read("file").as_deref(), Some("1"));
    drive.write("file", "written without the bucket");
    drive.write("other", "an old file, written to");
    let said = push(&volumes);
    assert!(said[0].starts_with("volume config: not pushed: "), "{said:?}");
    // It comes back while the containers run: what changed there is not written over.
    garage.resume();
    let said = push(&volumes);
    assert_eq!(said, ["volume config: not pushed, changed in the bucket as well: other"]);
    let content = garage.content();
    assert_eq!(content["file"], "written without the bucket");
    assert_eq!(content["other"], "2");
}

#[test]
fn what_never_had_the_buckets_files_pushes_nothing_over_them() {
    let Some(mut garage) = Garage::start() else { return };
    garage.put("identity", "of the gateway");
    garage.stop();
    let drive = Drive::new();
    let (volumes, said) = drive.boot(&garage, &mirrored());
    assert!(said.starts_with("local not pulled: "), "{said}");
    // What a container makes that finds nothing.
    drive.write("identity", "a new one");
    drive.write("more", "x");
    garage.resume();
    let said = push(&volumes);
    assert!(said[0].contains("nothing is pushed before a start pulls them"), "{said:?}");
    assert_eq!(finish(&volumes), [""; 0], "said already");
    assert_eq!(garage.content()["identity"], "of the gateway");
    assert_eq!(garage.keys(), ["identity"]);
    drop(volumes);
    let (volumes, said) = drive.boot(&garage, &mirrored());
    assert_eq!(said, "pulled changed here and in the bucket, set aside: identity");
    assert_eq!(drive.read("identity").as_deref(), Some("of the gateway"));
    assert_eq!(finish(&volumes), [""; 0]);
    assert_eq!(garage.keys(), ["identity", "more"]);
}

#[test]
fn a_full_bucket_is_told_of_and_the_rest_goes_on() {
    let Some(garage) = Garage::start() else { return };
    garage.put("old", &"x".repeat(40_000));
    let drive = Drive::new();
    let (volumes, _) = drive.boot(&garage, &mirrored());
    garage.ask(&["bucket", "set-quotas", "lab-1", "--max-size", "60KB"]).unwrap();
    drive.write("a-large", &"y".repeat(50_000));
    drive.write("small", "z");
    let said = push(&volumes);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("volume config: not pushed: a-large: the bucket answers 403"));
    assert_eq!(garage.content()["small"], "z");
    // Room is made, and it is sent.
    fs::remove_file(drive.at("old")).unwrap();
    finish(&volumes);
    assert_eq!(finish(&volumes), [""; 0]);
    assert_eq!(garage.keys(), ["a-large", "small"]);
}

/// At whatever step the power goes: the next boot, even without the bucket, finds the old copy or
/// the new one, never a part of both; and with the bucket the new one.
#[test]
fn a_power_cut_leaves_a_complete_copy() {
    let Some(mut garage) = Garage::start() else { return };
    let bucket = garage.bucket().unwrap();
    let home = tempfile::tempdir().unwrap();
    let content = |round: &str| {
        ["a", "b/c", "b/d", "e"].map(|name| (name.to_owned(), format!("{name} {round}")))
    };
    let read = |home: &std::path::Path| {
        ["a", "b/c", "b/d", "e", "f"]
            .map(|name| fs::read_to_string(home.join("tree").join(name)).ok())
    };
    for (key, text) in content("old") {
        garage.put(&key, &text);
    }
    garage.put("f", "goes away");
    let first = home.path().join("first");
    Copy::open(&first).unwrap().pull(&bucket, true).unwrap();
    let old = read(&first);
    assert_eq!(old[4].as_deref(), Some("goes away"));
    for (key, text) in content("new") {
        garage.put(&key, &text);
    }
    garage.delete("f");
    let (mut olds, mut news, mut whole) = (0, 0, None);
    for steps in 0..60 {
        let run = home.path().join(format!("run-{steps}"));
        copy_tree(&first, &run);
        // The files are others by their inodes: nothing may be taken for changed here.
        forget_inodes(&run);
        let mut copy = Copy::open(&run).unwrap();
        copy.power.set(Some(steps));
        let done = copy.pull(&bucket, true).is_ok();
        drop(copy);
        // The next boot, and the one after it.
        let copy = Copy::open(&run).unwrap();
        assert!(copy.complete);
        drop(copy);
        let found = read(&run);
        drop(Copy::open(&run).unwrap());
        assert_eq!(read(&run), found);
        assert_eq!(fs::read_dir(run.join("incoming")).unwrap().count(), 0);
        if found == old {
            olds += 1;
            assert!(!done);
        } else {
            let new = content("new").map(|(_, text)| Some(text));
            assert_eq!(found[..4], new);
            assert_eq!(found[4], None);
            news += 1;
        }
        let mut copy = Copy::open(&run).unwrap();
        let pulled = copy.pull(&bucket, true).unwrap();
        assert_eq!(pulled.aside.len(), 0, "{pulled:?}");
        assert_eq!(read(&run)[0].as_deref(), Some("a new"));
        if done {
            whole = Some(steps);
            break;
        }
    }
    assert!(olds > 5 && news > 5 && whole.is_some(), "{olds} {news} {whole:?}");
    garage.stop();
}

fn copy_tree(from: &std::path::Path, to: &std::path::Path) {
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// Gives the state of a copied volume the inodes of the copies.
fn forget_inodes(home: &std::path::Path) {
    let path = home.join("state.json");
    let mut state: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for (name, common) in state["files"].as_object_mut().unwrap() {
        let facts = fs::metadata(home.join("tree").join(name)).unwrap();
        common["facts"]["inode"] = std::os::unix::fs::MetadataExt::ino(&facts).into();
    }
    fs::write(&path, state.to_string()).unwrap();
}
