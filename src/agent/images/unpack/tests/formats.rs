//! Formats of archives and packings, and drives that fail under them.

use super::*;

/// Archives that `tar` itself makes of a tree, in all its formats, bring back the same.
#[test]
fn what_tar_packs_comes_back() {
    if !made::is_root() {
        return;
    }
    let tree = tempfile::tempdir().unwrap();
    let at = |name: &str| tree.path().join(name);
    fs::create_dir_all(at("usr/lib")).unwrap();
    fs::create_dir(at(&"d".repeat(90))).unwrap();
    fs::write(at(&format!("{}/{}", "d".repeat(90), "f".repeat(150))), "deep").unwrap();
    fs::write(at("usr/lib/Zoë"), vec![7; 100_000]).unwrap();
    fs::set_permissions(at("usr/lib/Zoë"), fs::Permissions::from_mode(0o4711)).unwrap();
    std::os::unix::fs::chown(at("usr/lib/Zoë"), Some(12), Some(34)).unwrap();
    fs::hard_link(at("usr/lib/Zoë"), at("second")).unwrap();
    symlink("usr/lib", at("lib")).unwrap();
    let holes = File::create(at("holes")).unwrap();
    for part in 0..60u64 {
        use std::os::unix::fs::FileExt;
        holes.write_all_at(b"data", part * 40_000).unwrap();
    }
    holes.set_len(10_000_000).unwrap();
    drop(holes);
    let seen = |root: &Path| {
        let mut seen = BTreeMap::new();
        let mut waiting = vec![root.to_owned()];
        while let Some(path) = waiting.pop() {
            let meta = path.symlink_metadata().unwrap();
            let content = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            let relative = path.strip_prefix(root).unwrap().to_owned();
            let nlink = if meta.is_dir() { 0 } else { meta.nlink() };
            seen.insert(
                relative,
                (meta.mode(), meta.uid(), meta.gid(), meta.mtime(), nlink, content),
            );
            if meta.is_dir() {
                waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        seen
    };
    let expected = seen(tree.path());
    for form in [
        &["--format=gnu"][..],
        &["--format=gnu", "--sparse"],
        &["--format=posix"],
        &["--format=posix", "--sparse"],
        &["--format=posix", "--sparse", "--sparse-version=0.1"],
        &["--format=posix", "--sparse", "--sparse-version=0.0"],
        &["--format=posix", "--gzip"],
        &["--format=gnu", "--zstd"],
    ] {
        let output = Command::new("tar").args(form).arg("-cC").arg(tree.path()).arg(".").output();
        let output = output.unwrap();
        assert!(output.status.success(), "{form:?}: {}", String::from_utf8_lossy(&output.stderr));
        let place = Place::new();
        place.unpack(&output.stdout).unwrap_or_else(|flaw| panic!("{form:?}: {flaw:?}"));
        let found = seen(&place.path(""));
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>(),
            "{form:?}"
        );
        for (path, entry) in &expected {
            assert!(found[path] == *entry, "{form:?}: {} differs", path.display());
        }
        assert!(fs::metadata(place.path("holes")).unwrap().blocks() < 10_000, "no holes: {form:?}");
    }
}

#[test]
fn packed_in_pieces_is_one_archive() {
    if !made::is_root() {
        return;
    }
    let tar = Layer::new().file("a", "1").file("b", "2").tar();
    let (first, second) = tar.split_at(700);
    let zstd = |bytes: &[u8]| {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    };
    let skipped = [&[0x52, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    let frames = [skipped.clone(), zstd(first), skipped, zstd(second)].concat();
    for packed in [[made::gzip(first), made::gzip(second)].concat(), frames] {
        let place = Place::new();
        assert_eq!(place.unpack(&packed).unwrap().entries, 2);
        assert_eq!(fs::read_to_string(place.path("b")).unwrap(), "2");
        for cut in [1, 2, 5, 10, 20, packed.len() / 2, packed.len() - 1] {
            let result = Place::new().unpack(&packed[..cut]);
            assert!(matches!(result, Err(Flaw::Bad(_))), "{cut}: {result:?}");
        }
    }
    assert!(why(Place::new().unpack(b"<html>404</html>")).contains("cut short"));
    assert!(why(Place::new().unpack(&[b'x'; 600])).contains("no tar archive"));
    assert_eq!(Place::new().unpack(b"").unwrap(), Unpacked::default());
}

/// An error of the drive that the archive lies on is no fault of the layer.
#[test]
fn errors_of_the_drive_are_told_as_such() {
    struct Broken(Vec<u8>);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Err(io::Error::from_raw_os_error(5));
            }
            let most = buffer.len().min(self.0.len());
            buffer[..most].copy_from_slice(&self.0.drain(..most).collect::<Vec<_>>());
            Ok(most)
        }
    }
    let layer = || (0..9).fold(Layer::new(), |layer, n| layer.file(&n.to_string(), "text"));
    for packed in [layer().gzip(), layer().tar()] {
        let place = Place::new();
        let directory = File::open(place.path("")).unwrap();
        let broken = Broken(packed[..packed.len() / 2].to_vec());
        let flaw = unpack(broken, directory.as_fd(), &LIMITS, &Live).unwrap_err();
        assert!(matches!(flaw, Flaw::Drive { what: "read", .. }), "{flaw:?}");
    }
}
