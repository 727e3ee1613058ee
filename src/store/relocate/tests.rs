//! A move that ends at every moment, and goes on.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::symlink;

use super::*;
use crate::identity::pki::Issued;
use crate::store::NewState;

fn new_state(dir: &Path) {
    let (ca, server) = (issued("ca"), issued("server"));
    let config = "url = \"https://127.0.0.1:8443\"\n";
    let new = NewState { config: Some(config), ca: &ca, server: &server, crl: "crl" };
    State::create(dir, &new).unwrap();
    let gateways = dir.join("gateways");
    fs::create_dir(gateways.join("lab-1")).unwrap();
    fs::write(gateways.join("lab-1/gateway.json"), "{}").unwrap();
    fs::create_dir(gateways.join(".by-fingerprint")).unwrap();
    symlink("../lab-1", gateways.join(".by-fingerprint/ab")).unwrap();
    fs::write(dir.join("store/blobs/big"), vec![7; 300_000]).unwrap();
    let _ = std::os::unix::net::UnixListener::bind(dir.join("admin.sock")).unwrap();
}

fn issued(name: &str) -> Issued {
    Issued { certificate_pem: name.to_owned(), private_key_pem: format!("{name} key") }
}

/// A disk that is busy with other things would make a hundred syncs long.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Paths, with modes and content.
fn content(dir: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(path) = open.pop() {
        let facts = fs::symlink_metadata(&path).unwrap();
        let mode = facts.mode() & 0o777;
        let below = path.strip_prefix(dir).unwrap().to_path_buf();
        if facts.is_dir() {
            found.insert(below, (mode, Vec::new()));
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if facts.is_symlink() {
            let target = fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes();
            found.insert(below, (0, target));
        } else if facts.is_file() {
            found.insert(below, (mode, fs::read(&path).unwrap()));
        }
    }
    found
}

fn is_state(dir: &Path) -> bool {
    State::open(dir, None).is_ok()
}

/// Moves by copying, and ends after `last`, as if killed.
fn until(from: &Path, to: &Path, last: Option<Moment>) -> Result<Moved> {
    let mut steps = Steps {
        places: Places::new(from, to)?,
        progress: &mut |_| {},
        may_rename: false,
        reached: &mut |moment| {
            ensure!(Some(moment) != last, "killed");
            Ok(())
        },
    };
    steps.run(None)
}

const MOMENTS: [Moment; 6] =
    [Moment::Begun, Moment::Copied, Moment::Named, Moment::Retired, Moment::Live, Moment::Cleared];

#[test]
fn whoever_is_killed_can_go_on_and_there_are_never_two_states() {
    for killed in MOMENTS {
        for again in [Some(Moment::Begun), Some(Moment::Retired), None] {
            let root = in_memory();
            let (from, to) = (root.path().join("from"), root.path().join("to"));
            new_state(&from);
            let before = content(&from);
            for last in [Some(killed), again] {
                let _ = until(&from, &to, last);
                let states = [is_state(&from), is_state(&to)];
                let retired = matches!(last, Some(Moment::Retired)) || killed == Moment::Retired;
                match states {
                    [true, false] | [false, true] => {}
                    [false, false] if retired => {
                        let error = State::open(&from, None).unwrap_err().to_string();
                        assert!(error.contains("state move"), "{error}");
                    }
                    _ => panic!("{killed:?} {again:?}: {states:?}"),
                }
            }
            // A third time, all goes well, unless it has already.
            match until(&from, &to, None) {
                Ok(moved) => assert!(moved.copied),
                Err(error) => assert!(format!("{error}").contains("was moved"), "{error:#}"),
            }
            assert_eq!(content(&to), before, "{killed:?} {again:?}");
            let left: Vec<_> = content(&from).into_keys().collect();
            assert_eq!(left, [PathBuf::new(), layout::MOVED.into()], "{killed:?} {again:?}");
            let error = State::open(&from, None).unwrap_err().to_string();
            assert!(error.contains(to.to_str().unwrap()), "{error}");
        }
    }
}

#[test]
fn within_a_file_system_it_is_renamed_and_back_again() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    new_state(&from);
    let before = content(&from);
    fs::create_dir(&to).unwrap();
    let moved = relocate(&from, None, &to, &mut |_| {}).unwrap();
    assert!(!moved.copied && moved.bytes > 300_000);
    assert_eq!(content(&to), before);
    assert!(!is_state(&from));
    relocate(&to, None, &from, &mut |_| {}).unwrap();
    assert_eq!(content(&from), before);
    // Through a symbolic link, the directory moves, and not the link.
    let link = root.path().join("link");
    symlink(&from, &link).unwrap();
    fs::remove_dir_all(&to).unwrap();
    relocate(&link, None, &to, &mut |_| {}).unwrap();
    assert!(is_state(&to) && link.is_symlink());
}

#[test]
fn a_place_that_is_taken_is_refused_and_nothing_changes() {
    let root = tempfile::tempdir().unwrap();
    let from = root.path().join("from");
    new_state(&from);
    let before = content(&from);
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let full = root.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("copying"), "/another/state\n").unwrap();
    let link = root.path().join("link");
    symlink(root.path().join("nowhere"), &link).unwrap();
    for (to, words) in [
        (from.clone(), "already"),
        (from.join("below"), "in the other"),
        (root.path().to_path_buf(), "in the other"),
        (root.path().join("missing/to"), "is not there"),
        (file, "no directory"),
        (link, "no directory"),
        (full, "not empty"),
    ] {
        let error = format!("{:#}", until(&from, &to, None).unwrap_err());
        assert!(error.contains(words), "{}: {error}", to.display());
        assert_eq!(content(&from), before);
    }
    // A pipe is nothing that a state has.
    rustix::fs::mknodat(
        rustix::fs::CWD,
        from.join("pipe"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let to = root.path().join("to");
    let error = format!("{:#}", until(&from, &to, None).unwrap_err());
    assert!(error.contains("pipe is neither"), "{error}");
    assert!(!to.exists() && is_state(&from));
    fs::remove_file(from.join("pipe")).unwrap();
    until(&from, &to, None).unwrap();
    assert_eq!(content(&to), before);
}

#[test]
fn a_copy_with_another_byte_is_no_copy() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    for dir in [&from, &to] {
        fs::create_dir(dir).unwrap();
    }
    fs::write(from.join("file"), "content").unwrap();
    let written =
        tree::copy(&open_dir(&from).unwrap(), &open_dir(&to).unwrap(), &[], &mut |_| {}).unwrap();
    let compare = || tree::compare(&open_dir(&to).unwrap(), &written, &mut |_| {});
    compare().unwrap();
    fs::write(to.join("file"), "contenT").unwrap();
    assert!(format!("{:#}", compare().unwrap_err()).contains("differs"));
}

#[test]
fn a_lost_copy_is_missed_and_the_way_back_is_told() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    new_state(&from);
    assert!(until(&from, &to, Some(Moment::Retired)).is_err());
    let elsewhere = root.path().join("elsewhere");
    let error = format!("{:#}", until(&from, &elsewhere, None).unwrap_err());
    assert!(error.contains("finish that first"), "{error}");
    fs::rename(&to, &elsewhere).unwrap();
    fs::create_dir(&to).unwrap();
    let error = format!("{:#}", until(&from, &to, None).unwrap_err());
    assert!(error.contains("mounted") && error.contains("mv "), "{error}");
    fs::rename(from.join("format.old"), from.join("format")).unwrap();
    assert!(is_state(&from));
}

/// Whoever makes another state where the copy was must not lose what is left of the old one.
#[test]
fn another_state_in_the_place_of_the_copy_is_not_taken_for_it() {
    let root = in_memory();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    new_state(&from);
    let before = content(&from);
    assert!(until(&from, &to, Some(Moment::Live)).is_err());
    assert!(is_state(&to));
    fs::rename(&to, root.path().join("away")).unwrap();
    new_state(&to);
    let other = content(&to);
    let error = format!("{:#}", until(&from, &to, None).unwrap_err());
    assert!(error.contains("no copy"), "{error}");
    // Nor is a state that lives removed for a new copy.
    fs::rename(from.join("format.old"), from.join("format")).unwrap();
    fs::remove_file(from.join("moved")).unwrap();
    assert_eq!(content(&from), before);
    fs::write(to.join("copying"), from.to_str().unwrap()).unwrap();
    let error = format!("{:#}", until(&from, &to, None).unwrap_err());
    assert!(error.contains("not empty"), "{error}");
    fs::remove_file(to.join("copying")).unwrap();
    assert_eq!(content(&to), other);
}
