//! Blobs on a real disk.

use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;

fn store() -> (tempfile::TempDir, Blobs, Blobs) {
    let dir = tempfile::tempdir().unwrap();
    let (public, private) =
        (Blobs::new(dir.path(), Access::Public), Blobs::new(dir.path(), Access::Private));
    fs::create_dir(&public.dir).unwrap();
    (dir, public, private)
}

fn asset((sha256, size): (BlobId, u64)) -> Asset {
    Asset { sha256, size }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_same_bytes_are_kept_once_and_a_failed_copy_leaves_nothing() {
    let (_dir, blobs, _) = store();
    let (first, size) = blobs.add(&b"kernel"[..]).unwrap();
    let inode = fs::metadata(blobs.path(&first)).unwrap().ino();
    let (second, _) = blobs.add(&b"kernel"[..]).unwrap();
    assert_eq!((first, size), (second, 6));
    assert_eq!(fs::metadata(blobs.path(&first)).unwrap().ino(), inode);
    assert_eq!(io::read_to_string(blobs.open(&first).unwrap()).unwrap(), "kernel");

    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("gone"))
        }
    }
    let before = fs::read_dir(&blobs.dir).unwrap().count();
    assert!(blobs.add((&b"half"[..]).chain(Broken)).is_err());
    assert_eq!(fs::read_dir(&blobs.dir).unwrap().count(), before);
}

proptest! {
    /// A truncated blob used to stay however often its bytes were added again, since its name
    /// existed.
    #[test]
    fn whatever_became_of_a_blob_adding_its_bytes_again_mends_it(
        bytes in proptest::collection::vec(any::<u8>(), 1..200),
        became in proptest::collection::vec(any::<u8>(), 0..200),
        access in prop_oneof![Just(Access::Public), Just(Access::Private)],
        mode_became in prop_oneof![Just(0o600u32), Just(0o644)],
    ) {
        let (_dir, public, private) = store();
        let blobs = if access == Access::Public { public } else { private };
        let asset = asset(blobs.add(&bytes[..]).unwrap());
        let path = blobs.path(&asset.sha256);
        fs::write(&path, &became).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode_became)).unwrap();
        prop_assert_eq!(blobs.verify(&asset).is_ok(), became == bytes);
        prop_assert_eq!(blobs.read(&asset).is_ok(), became == bytes);
        prop_assert_eq!(blobs.find(&asset).is_ok(), became.len() == bytes.len());
        prop_assert_eq!(blobs.open_whole(&asset).is_ok(), became.len() == bytes.len());

        blobs.add(&bytes[..]).unwrap();
        prop_assert_eq!(&fs::read(&path).unwrap(), &bytes);
        prop_assert_eq!(mode(&path), access.mode());
        prop_assert!(blobs.verify(&asset).is_ok());
        let beside = fs::read_dir(path.parent().unwrap()).unwrap().count();
        prop_assert_eq!(beside, 1, "something is left beside it");
    }
}

#[test]
fn what_a_killed_repair_left_behind_is_in_nobodys_way() {
    let (_dir, blobs, _) = store();
    let (id, _) = blobs.add(&b"kernel"[..]).unwrap();
    let path = blobs.path(&id);
    fs::write(&path, "ker").unwrap();
    fs::write(path.with_extension("new"), "of another time").unwrap();
    blobs.add(&b"kernel"[..]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"kernel");
    assert!(!path.with_extension("new").exists());
}

/// Equal files of two gateways, one of them a secret, used to share a blob. The first one decided
/// whether nginx could send the file, or everybody could read the secret.
#[test]
fn a_secret_and_a_file_with_its_bytes_are_two() {
    for private_first in [true, false] {
        let (_dir, public, private) = store();
        let all = if private_first { [&private, &public] } else { [&public, &private] };
        let ids = all.map(|blobs| blobs.add(&b"TOKEN=1\n"[..]).unwrap().0);
        assert_eq!(ids[0], ids[1]);
        assert_eq!(mode(&public.path(&ids[0])), 0o644);
        assert_eq!(mode(&private.path(&ids[0])), 0o600);
        assert_eq!(mode(&private.dir), 0o700);
        private.remove(&ids[0]).unwrap();
        assert!(public.is_whole(&ids[0]).unwrap());
    }
}

#[test]
fn a_secret_of_an_older_version_is_read_where_it_is_and_written_anew_elsewhere() {
    let (_dir, public, private) = store();
    let older = asset(public.add(&b"TOKEN=1\n"[..]).unwrap());
    assert_eq!(private.read(&older).unwrap(), b"TOKEN=1\n");
    assert_eq!(private.path(&older.sha256), public.path(&older.sha256));
    private.add(&b"TOKEN=1\n"[..]).unwrap();
    assert!(private.path(&older.sha256).starts_with(&private.dir));
    assert!(private.read(&older).is_ok() && public.read(&older).is_ok());
}
