//! Layers are made as they describe.

use super::*;

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

/// Within one layer the later entry counts.
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
