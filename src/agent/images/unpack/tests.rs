//! Tests of the unpacker: what other tools pack, and what nobody should.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use rustix::fs::lgetxattr;
use rustix::fs::makedev;
use tar::EntryType;
use tempfile::TempDir;

use super::super::steps::Live;
use super::super::tests::made;
use super::super::tests::made::Layer;
use super::*;

const LIMITS: Limits = Limits { entries: 1000, bytes: 1 << 30, leave: 0 };

/// A layer's directory, and one beside it that nothing may touch.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("layer")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/file"), "untouched").unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("layer").join(name)
    }

    fn unpack_within(&self, packed: &[u8], limits: &Limits) -> Result<Unpacked, Flaw> {
        let directory = File::open(self.dir.path().join("layer")).unwrap();
        unpack(packed, directory.as_fd(), limits, &Live)
    }

    fn unpack(&self, packed: &[u8]) -> Result<Unpacked, Flaw> {
        self.unpack_within(packed, &LIMITS)
    }

    fn assert_nothing_left_it(&self) {
        let names = |path: &Path| {
            let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = entries.collect();
            names.sort();
            names
        };
        assert_eq!(names(self.dir.path()), ["layer", "outside"]);
        let outside = self.dir.path().join("outside");
        assert_eq!(names(&outside), ["file"]);
        let file = outside.join("file");
        assert_eq!(fs::read_to_string(&file).unwrap(), "untouched");
        let file = file.metadata().unwrap();
        assert_eq!((file.nlink(), file.uid(), file.mode() & 0o7777), (1, 0, 0o644));
    }
}

fn why(result: Result<Unpacked, Flaw>) -> String {
    match result {
        Err(Flaw::Bad(why)) => why,
        other => panic!("not bad: {other:?}"),
    }
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = lgetxattr(path, name, &mut value).ok()?;
    value.truncate(length);
    Some(value)
}

#[test]
fn everything_that_a_layer_can_say_is_made() {
    if !made::is_root() {
        return;
    }
    // Capabilities of a file, with a line end in them.
    let capability = b"\x01\0\0\x02\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    let layer = Layer::new()
        .with(EntryType::Directory, "./", |header| header.set_mode(0o700))
        .with(EntryType::Directory, "sticky/", |header| {
            header.set_mode(0o1777);
            header.set_uid(1000);
            header.set_gid(70_000);
        })
        .pax(&[
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.user.note", b"a\nb=c"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.security.selinux", b"label"),
            ("mtime", b"1600000000.5"),
            ("uid", b"4000000"),
        ])
        .with(EntryType::Regular, "sticky/suid", |header| header.set_mode(0o6755))
        .hard_link("link", "sticky/suid")
        .symlink("absolute", "/etc/passwd")
        .symlink("up", "../../outside/file")
        .with(EntryType::Fifo, "fifo", |header| header.set_mode(0o620))
        .device("null", 1, 3)
        .pax(&[("path", long.as_bytes())])
        .file("short", "long")
        .file("empty", "");
    let place = Place::new();
    let unpacked = place.unpack(&layer.gzip()).unwrap();
    assert_eq!((unpacked.entries, unpacked.bytes, unpacked.root), (10, 4, true));
    assert_eq!(unpacked.implicit, ["d".repeat(120).into_bytes()]);

    assert_eq!(fs::metadata(place.path("")).unwrap().mode() & 0o7777, 0o700);
    let sticky = fs::metadata(place.path("sticky")).unwrap();
    assert_eq!((sticky.mode() & 0o7777, sticky.uid(), sticky.gid()), (0o1777, 1000, 70_000));
    assert_eq!(sticky.mtime(), 1_700_000_000);
    let suid = fs::metadata(place.path("sticky/suid")).unwrap();
    assert_eq!((suid.mode() & 0o7777, suid.uid(), suid.nlink()), (0o6755, 4_000_000, 2));
    assert_eq!((suid.mtime(), suid.mtime_nsec()), (1_600_000_000, 500_000_000));
    assert_eq!(suid.ino(), fs::metadata(place.path("link")).unwrap().ino());
    let path = place.path("sticky/suid");
    assert_eq!(xattr(&path, "security.capability").unwrap(), capability);
    assert_eq!(xattr(&path, "user.note").unwrap(), b"a\nb=c");
    for dropped in ["trusted.overlay.redirect", "user.overlay.opaque", "security.selinux"] {
        assert_eq!(xattr(&path, dropped), None, "{dropped}");
    }
    assert_eq!(fs::read_link(place.path("absolute")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(fs::read_link(place.path("up")).unwrap(), Path::new("../../outside/file"));
    let fifo = fs::metadata(place.path("fifo")).unwrap();
    assert!(fifo.file_type().is_fifo() && fifo.mode() & 0o777 == 0o620);
    let null = fs::metadata(place.path("null")).unwrap();
    assert!(null.file_type().is_char_device() && null.rdev() == makedev(1, 3));
    assert_eq!(fs::read_to_string(place.path(&long)).unwrap(), "long");
    assert_eq!(fs::read(place.path("empty")).unwrap(), b"");
    place.assert_nothing_left_it();
}

#[test]
fn whiteouts_take_the_form_of_overlayfs() {
    if !made::is_root() {
        return;
    }
    let layer = Layer::new()
        .dir("a")
        .file("a/.wh.gone", "")
        .file("a/.wh..wh..opq", "")
        // Gone below, and there again.
        .file(".wh.file", "")
        .file("file", "new")
        .file(".wh.dir", "")
        .dir("dir")
        .file(".wh.made", "")
        .file("made/file", "new")
        // There, and gone below.
        .file("kept", "new")
        .file(".wh.kept", "")
        .dir("renewed")
        .file(".wh.renewed", "")
        .file(".wh..wh.aufs", "");
    let place = Place::new();
    let unpacked = place.unpack(&layer.tar()).unwrap();
    assert!(!unpacked.opaque && !unpacked.root);
    assert_eq!(unpacked.implicit, [b"made".to_vec()]);
    let gone = fs::metadata(place.path("a/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == makedev(0, 0));
    for opaque in ["a", "dir", "made", "renewed"] {
        let value = xattr(&place.path(opaque), "trusted.overlay.opaque");
        assert_eq!(value.as_deref(), Some(&b"y"[..]), "{opaque}");
        assert!(fs::metadata(place.path(opaque)).unwrap().is_dir());
    }
    for file in ["file", "kept", "made/file"] {
        assert_eq!(fs::read_to_string(place.path(file)).unwrap(), "new");
    }
    let names = fs::read_dir(place.path("")).unwrap().count();
    assert_eq!(names, 6, "a .wh. name is left");

    let place = Place::new();
    assert!(place.unpack(&Layer::new().file(".wh..wh..opq", "").tar()).unwrap().opaque);
}

/// What replaces what within one layer: the later entry counts.
#[test]
fn the_later_entry_of_a_name_counts() {
    if !made::is_root() {
        return;
    }
    let layer = Layer::new()
        .dir("dir")
        .file("dir/file", "1")
        .file("dir", "file now")
        .symlink("to", "dir2")
        .file("to", "no link any more")
        .dir("dir2")
        .file("dir2/kept", "1")
        .dir("dir2")
        .symlink("self", ".")
        .file("self/x", "1")
        .dir("self")
        .file("self/x", "2")
        .hard_link("dir2/kept", "dir2/kept");
    let place = Place::new();
    place.unpack(&layer.tar()).unwrap();
    assert_eq!(fs::read_to_string(place.path("dir")).unwrap(), "file now");
    assert_eq!(fs::read_to_string(place.path("to")).unwrap(), "no link any more");
    assert_eq!(fs::read_to_string(place.path("dir2/kept")).unwrap(), "1");
    assert_eq!(fs::read_to_string(place.path("x")).unwrap(), "1");
    assert_eq!(fs::read_to_string(place.path("self/x")).unwrap(), "2");
}

/// Links of the layer are followed with the layer as the root, as containerd does.
#[test]
fn links_lead_within_the_layer() {
    if !made::is_root() {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.path("etc")).unwrap();
    let layer = Layer::new()
        .symlink("lib", "usr/lib")
        .dir("usr/lib")
        .file("lib/file", "1")
        .symlink("abs", "/etc")
        .file("abs/passwd", "mine")
        .symlink("up", "../../../../../etc")
        .file("up/shadow", "mine")
        .hard_link("second", "abs/passwd");
    place.unpack(&layer.tar()).unwrap();
    assert_eq!(fs::read_to_string(place.path("usr/lib/file")).unwrap(), "1");
    assert_eq!(fs::read_to_string(place.path("etc/passwd")).unwrap(), "mine");
    assert_eq!(fs::read_to_string(place.path("etc/shadow")).unwrap(), "mine");
    assert_eq!(fs::metadata(place.path("second")).unwrap().nlink(), 2);
    place.assert_nothing_left_it();
}

#[test]
fn evil_layers_are_refused_and_touch_nothing_outside() {
    if !made::is_root() {
        return;
    }
    let outside = |place: &Place| place.dir.path().join("outside").to_str().unwrap().to_owned();
    let probe = Place::new();
    let target = outside(&probe);
    let huge = made::header(EntryType::XHeader, "pax", "", 1 << 40);
    let cases: Vec<(&str, Layer, &str)> = vec![
        ("up", Layer::new().file("../outside/file", "x"), "leads out"),
        ("up in the middle", Layer::new().file("a/../../outside/file", "x"), "leads out"),
        ("link to the top", Layer::new().hard_link("a", "../outside/file"), "leads out"),
        (
            "link that is absolute",
            Layer::new().hard_link("a", &format!("{target}/file")),
            "not have",
        ),
        (
            "through a link",
            Layer::new().symlink("out", &target).file("out/new", "x"),
            "leads nowhere",
        ),
        (
            "through a relative link",
            Layer::new().symlink("out", "../outside").file("out/new", "x"),
            "leads nowhere",
        ),
        (
            "a hard link through a link",
            Layer::new().symlink("out", &target).hard_link("a", "out/file"),
            "not have",
        ),
        ("a directory through a link", Layer::new().symlink("o", &target).dir("o/d"), "nowhere"),
        (
            "a whiteout through a link",
            Layer::new().symlink("o", &target).file("o/.wh.file", ""),
            "nowhere",
        ),
        (
            "an opaque link",
            Layer::new().symlink("o", &target).file("o/.wh..wh..opq", ""),
            "nowhere",
        ),
        ("a whiteout of the parent", Layer::new().file("a/.wh...", ""), "names nothing"),
        ("a whiteout of itself", Layer::new().file(".wh..", ""), "names nothing"),
        ("a file as the root", Layer::new().file("./", "").symlink(".", "/"), "replaces the root"),
        ("a circle", Layer::new().symlink("a", "b").symlink("b", "a").file("a/c", ""), "symbolic"),
        ("a file as a directory", Layer::new().file("a", "").file("a/b", ""), "ot a directory"),
        ("a link to a directory", Layer::new().dir("a").hard_link("b", "a"), "to a directory"),
        (
            "a link to what it replaces",
            Layer::new().dir("a").file("a/f", "").hard_link("a", "a/f"),
            "not have",
        ),
        ("a link to nothing", Layer::new().hard_link("a", ""), "not have"),
        (
            "a name of a name",
            Layer::new().file(&"n".repeat(99), "").pax(&[("path", &[b'n'; 300])]).file("x", ""),
            "too long",
        ),
        ("a header that fills memory", Layer::new().raw(huge.as_bytes()), "header of"),
        (
            "an owner that is none",
            Layer::new().pax(&[("uid", b"4294967295")]).file("a", ""),
            "owner",
        ),
        ("a socket", Layer::new().with(EntryType::new(b's'), "s", |_| {}), "unknown kind"),
        (
            "attributes that fill a block",
            Layer::new().pax(&[("SCHILY.xattr.user.a", &[1; 70_000])]).file("a", ""),
            "too long",
        ),
    ];
    for (name, layer, expected) in cases {
        let place = Place::new();
        let error = why(place.unpack(&layer.tar()));
        assert!(error.contains(expected), "{name}: {error}");
        assert!(!error.contains('\n'), "{name}: {error}");
        place.assert_nothing_left_it();
        probe.assert_nothing_left_it();
    }
}

/// Somebody who swaps a directory for a link between two entries gains nothing: the kernel
/// resolves each name anew. The archive itself is the only one who could.
#[test]
fn a_directory_that_becomes_a_link_leads_nowhere() {
    if !made::is_root() {
        return;
    }
    let place = Place::new();
    let layer = Layer::new()
        .dir("a")
        .dir("a/b")
        .file("a/b/one", "1")
        .symlink("a/b", "/../../outside")
        .file("a/b/file", "2");
    assert!(why(place.unpack(&layer.tar())).contains("leads nowhere"));
    place.assert_nothing_left_it();
    // The same with a target that a link outside of the layer makes reachable.
    let place = Place::new();
    symlink(place.dir.path().join("outside"), place.path("planted")).unwrap();
    assert!(place.unpack(&Layer::new().file("planted/file", "2").tar()).is_err());
    place.assert_nothing_left_it();
}

#[test]
fn limits_hold() {
    if !made::is_root() {
        return;
    }
    let files = (0..20).fold(Layer::new(), |layer, n| layer.file(&n.to_string(), "0123456789"));
    let files = files.tar();
    let within = |limits: Limits| Place::new().unpack_within(&files, &limits);
    assert_eq!(within(LIMITS).unwrap().entries, 20);
    assert_eq!(within(Limits { entries: 20, bytes: 200, leave: 0 }).unwrap().bytes, 200);
    assert!(why(within(Limits { entries: 19, ..LIMITS })).contains("19 entries"));
    assert!(matches!(within(Limits { bytes: 199, ..LIMITS }), Err(Flaw::Full)));
    assert!(matches!(within(Limits { leave: u64::MAX, ..LIMITS }), Err(Flaw::Full)));
    // A bomb of zeros takes no room, but is counted.
    let zeros = made::gzip(
        &Layer::new()
            .raw(made::header(EntryType::Regular, "z", "", 1 << 40).as_bytes())
            .raw(&vec![0; 8 << 20])
            .tar(),
    );
    let place = Place::new();
    let result = place.unpack_within(&zeros, &Limits { bytes: 4 << 20, ..LIMITS });
    assert!(matches!(result, Err(Flaw::Full)), "{result:?}");
    assert!(fs::metadata(place.path("z")).unwrap().blocks() < 100);
    let long =
        [made::gzip(&files), made::gzip(&vec![0; (MAX_TRAILER + (1 << 20)) as usize])].concat();
    assert!(why(Place::new().unpack(&long)).contains("follow its end"));
}

/// What `tar` itself makes of a tree, in all its formats, comes back the same.
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

fn names() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[ab]".prop_map(String::from),
        1 => Just("..".to_owned()),
        1 => Just(".".to_owned()),
        1 => Just(".wh.a".to_owned()),
        1 => Just(".wh..wh..opq".to_owned()),
        1 => Just("outside".to_owned()),
    ];
    let start = prop_oneof![3 => Just(""), 1 => Just("/"), 1 => Just("./"), 1 => Just("../")];
    (start, prop::collection::vec(part, 0..4))
        .prop_map(|(start, parts)| format!("{start}{}", parts.join("/")))
}

fn targets() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => names(),
        1 => Just("../outside".to_owned()),
        1 => Just("../../../../../../../../".to_owned()),
        1 => Just("OUTSIDE".to_owned()),
        1 => Just("/proc/self/root/".to_owned()),
        1 => Just("/proc/self/cwd".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the entries are, in whatever order: nothing outside of the layer changes, and what
    /// was made can be removed.
    #[test]
    fn no_archive_reaches_out(
        entries in prop::collection::vec((0..7u8, names(), targets()), 1..12),
    ) {
        if !made::is_root() {
            return Ok(());
        }
        let place = Place::new();
        let outside = place.dir.path().join("outside").to_str().unwrap().to_owned();
        let mut layer = Layer::new();
        for (kind, name, target) in entries {
            let target = target.replace("OUTSIDE", &outside);
            layer = match kind {
                0 | 1 => layer.file(&name, "text"),
                2 => layer.dir(&name),
                3 | 4 => layer.symlink(&name, &target),
                5 => layer.hard_link(&name, &target),
                _ => layer.device(&name, 1, 3),
            };
        }
        let _ = place.unpack(&layer.tar());
        place.assert_nothing_left_it();
        super::super::remove::remove_at(
            File::open(place.dir.path()).unwrap().as_fd(), b"layer", &Live).unwrap();
        prop_assert!(!place.path("").exists());
    }

    /// Damaged archives: an error, or some of their files, but no panic.
    #[test]
    fn no_bytes_panic(position in any::<prop::sample::Index>(), bytes in any::<Vec<u8>>()) {
        if !made::is_root() {
            return Ok(());
        }
        let mut tar = Layer::new().pax(&[("path", b"x")]).file("a", "1").dir("d").symlink("s", "d").tar();
        let at = position.index(tar.len());
        let end = tar.len().min(at + bytes.len());
        tar[at..end].copy_from_slice(&bytes[..end - at]);
        let place = Place::new();
        let _ = place.unpack(&tar);
        place.assert_nothing_left_it();
        let _ = Place::new().unpack(&bytes);
    }
}
