//! Roots of containers, mounted by the kernel. Each test is in a mount namespace of its own.

use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;

use nix::sched::CloneFlags;
use nix::sched::unshare;
use rustix::mount::MountPropagationFlags;
use rustix::mount::mount_change;
use tar::EntryType;

use super::super::Rootfs;
use super::*;
use made::Shelf;

/// Has this thread mount for itself alone.
pub(super) fn apart() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
}

fn mounted(root: &Path, layers: &[Vec<u8>]) -> (Store, Ready, Rootfs) {
    let store = open(root).unwrap();
    let image = Image::new(layers);
    let ready = ensure(&store, &image, &Shelf::with(&[&image])).unwrap();
    let rootfs = store.mount(&ready, "gateway").unwrap();
    (store, ready, rootfs)
}

fn list(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn layers_are_stacked_and_changes_are_gone_with_the_next_mount() {
    if !made::is_root() {
        return;
    }
    apart();
    let dir = tempfile::tempdir().unwrap();
    // A colon and a comma, which would end a path among the options.
    let root = dir.path().join("a:b,c\\d");
    let base = Layer::new()
        .with(EntryType::Directory, "./", |header| header.set_mode(0o711))
        .dir("etc")
        .file("etc/kept", "base")
        .file("etc/gone", "base")
        .file("etc/new", "base")
        .dir("opaque")
        .file("opaque/below", "base")
        .device("null", 1, 3)
        .gzip();
    let top = Layer::new()
        .dir("etc")
        .file("etc/.wh.gone", "")
        .file("etc/new", "top")
        .dir("opaque")
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/above", "top")
        .gzip();
    let (store, ready, rootfs) = mounted(&root, &[base, top]);
    let at = |name: &str| rootfs.path.join(name);
    assert_eq!(list(&rootfs.path), ["etc", "null", "opaque"]);
    assert_eq!(list(&at("etc")), ["kept", "new"]);
    assert_eq!(list(&at("opaque")), ["above"]);
    assert_eq!(fs::read_to_string(at("etc/new")).unwrap(), "top");
    assert_eq!(fs::metadata(&rootfs.path).unwrap().mode() & 0o7777, 0o711);
    // The device is there, and opens for nobody.
    assert_eq!(fs::File::open(at("null")).unwrap_err().raw_os_error(), Some(13));

    fs::write(at("etc/kept"), "changed").unwrap();
    fs::remove_file(at("etc/new")).unwrap();
    let layer = store.layer(&ready.layers[0]).join("fs").join("etc/kept");
    assert_eq!(fs::read_to_string(layer).unwrap(), "base");
    // A container that is started again, after one that was never taken away.
    let again = store.mount(&ready, "gateway").unwrap();
    assert_eq!(again, rootfs);
    assert_eq!(fs::read_to_string(at("etc/kept")).unwrap(), "base");
    let other = store.mount(&ready, "other").unwrap();
    fs::write(other.path.join("file"), "").unwrap();
    assert!(!at("file").exists());
    other.unmount().unwrap();
    again.unmount().unwrap();
    assert!(list(&rootfs.path).is_empty());
    for bad in ["", ".", "..", "a/b", "../x"] {
        assert!(store.mount(&ready, bad).is_err(), "{bad}");
    }
}

/// As many layers as an image may have, whose names alone would not fit into a page.
#[test]
fn many_layers_are_mounted() {
    if !made::is_root() {
        return;
    }
    apart();
    let dir = tempfile::tempdir().unwrap();
    let layer =
        |n: usize| Layer::new().file(&n.to_string(), &n.to_string()).file("top", &n.to_string());
    let layers: Vec<_> = (0..127).map(|n| layer(n).gzip()).collect();
    let (_store, _, rootfs) = mounted(&dir.path().join("d".repeat(200)), &layers);
    assert_eq!(list(&rootfs.path).len(), 128);
    assert_eq!(fs::read_to_string(rootfs.path.join("top")).unwrap(), "126");
    rootfs.unmount().unwrap();
}

/// overlayfs takes each directory once; the upper one of two equal layers says all.
#[test]
fn a_layer_that_is_there_twice_counts_where_it_is_topmost() {
    if !made::is_root() {
        return;
    }
    apart();
    let base = Layer::new().dir("d").file("d/x", "base").file("d/y", "base").gzip();
    let twice = Layer::new().dir("d").file("d/x", "twice").file("d/.wh.y", "").gzip();
    let between =
        Layer::new().dir("d").file("d/x", "between").file("d/y", "back").file("d/z", "").gzip();
    let dir = tempfile::tempdir().unwrap();
    let layers = [base, twice.clone(), between, twice];
    let (_store, ready, rootfs) = mounted(dir.path(), &layers);
    assert_eq!(ready.layers.len(), 3);
    assert_eq!(list(&rootfs.path.join("d")), ["x", "z"]);
    assert_eq!(fs::read_to_string(rootfs.path.join("d/x")).unwrap(), "twice");
    rootfs.unmount().unwrap();
}

#[test]
fn a_layer_may_hide_all_below_it() {
    if !made::is_root() {
        return;
    }
    apart();
    let dir = tempfile::tempdir().unwrap();
    let base = Layer::new().file("below", "").gzip();
    let top = Layer::new().file(".wh..wh..opq", "").file("above", "").gzip();
    let (_store, _, rootfs) = mounted(dir.path(), &[base, top]);
    assert_eq!(list(&rootfs.path), ["above"]);
    rootfs.unmount().unwrap();
}

/// Some tools pack `tmp/file` without `tmp/`.
#[test]
fn directories_without_a_description_look_as_below() {
    if !made::is_root() {
        return;
    }
    apart();
    let dir = tempfile::tempdir().unwrap();
    let described = |layer: Layer, name: &str, mode: u32, uid: u64| {
        layer.with(EntryType::Directory, name, |header| {
            header.set_mode(mode);
            header.set_uid(uid);
        })
    };
    let base = described(Layer::new(), "tmp", 0o1777, 0);
    let base = described(base, "home", 0o711, 5);
    let base = described(base, "home/user", 0o700, 1000);
    let base = described(base, "gone", 0o700, 1000).file("gone/file", "").gzip();
    let more = Layer::new()
        .file("tmp/file", "")
        .file("home/user/deep/file", "")
        .file(".wh.gone", "")
        .gzip();
    let top = Layer::new().file("home/user/top", "").file("gone/again", "").gzip();
    let (_store, _, rootfs) = mounted(dir.path(), &[base, more, top]);
    let look = |name: &str| {
        let meta = fs::metadata(rootfs.path.join(name)).unwrap();
        (meta.mode() & 0o7777, meta.uid())
    };
    assert_eq!(look("tmp"), (0o1777, 0));
    assert_eq!(look("home"), (0o711, 5));
    assert_eq!(look("home/user"), (0o700, 1000));
    assert_eq!(look("home/user/deep"), (0o755, 0));
    assert_eq!(look("gone"), (0o755, 0));
    assert_eq!(list(&rootfs.path.join("home/user")), ["deep", "top"]);
    assert_eq!(list(&rootfs.path.join("gone")), ["again"]);
    rootfs.unmount().unwrap();
}

/// Nothing that a container leaves can keep the store from being opened.
#[test]
fn what_a_container_leaves_is_gone_with_the_next_boot() {
    if !made::is_root() {
        return;
    }
    apart();
    let dir = tempfile::tempdir().unwrap();
    let (store, ready, rootfs) = mounted(dir.path(), &[Layer::new().dir("d").gzip()]);
    fs::write(rootfs.path.join("d/file"), "text").unwrap();
    fs::set_permissions(rootfs.path.join("d"), fs::Permissions::from_mode(0o0)).unwrap();
    rootfs.unmount().unwrap();
    let upper = dir.path().join("containers/gateway/upper/d/file");
    assert!(upper.exists());
    // Undeletable, as by `chattr +i`.
    let file = fs::File::open(&upper).unwrap();
    let flags = rustix::fs::ioctl_getflags(&file).unwrap();
    rustix::fs::ioctl_setflags(&file, flags | rustix::fs::IFlags::IMMUTABLE).unwrap();
    drop(store);
    let store = open(dir.path()).unwrap();
    assert!(!upper.exists());
    let rootfs = store.mount(&ready, "gateway").unwrap();
    assert!(list(&rootfs.path.join("d")).is_empty());
    rootfs.unmount().unwrap();
    rustix::fs::ioctl_setflags(&file, flags).unwrap();
    drop(store);
    open(dir.path()).unwrap();
    assert!(names(dir.path(), "work").is_empty());
}
