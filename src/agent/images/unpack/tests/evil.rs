//! Evil layers: nothing reaches out of their directory, and limits hold.

use super::*;

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
        super::super::super::remove::remove_at(
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
