//! Images that stay on the drive, and those that do not.

use super::*;
use made::Nobody;
use made::Shelf;

fn layers(root: &Path) -> usize {
    names(root, "layers").len()
}

#[test]
fn the_last_good_image_stays_until_the_new_one_is_acknowledged() {
    if !made::is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = versions();
    let shelf = Shelf::with(&[&one, &two]);
    let store = open(dir.path()).unwrap();
    store.keep(&[one.digest]).unwrap();
    ensure(&store, &one, &shelf).unwrap();
    store.acknowledged(&[one.digest]).unwrap();

    // The new one is tried, in this boot and others, and collection removes neither.
    for _ in 0..3 {
        drop(open(dir.path()));
    }
    drop(store);
    let store = open(dir.path()).unwrap();
    store.keep(&[two.digest]).unwrap();
    assert_eq!(store.collect().unwrap(), super::super::Collected::default());
    ensure(&store, &two, &shelf).unwrap();
    assert_eq!(store.collect().unwrap().layers, 0);
    assert_eq!(layers(dir.path()), 4);

    // It fails: the boot host sends the gateway back.
    drop(store);
    let store = open(dir.path()).unwrap();
    store.keep(&[one.digest]).unwrap();
    ensure(&store, &one, &Nobody).unwrap();
    let collected = store.collect().unwrap();
    assert_eq!((collected.layers, layers(dir.path())), (2, 2));
    assert!(collected.bytes > 5000);

    // It is mended and acknowledged: the old one goes, and what both have stays.
    drop(store);
    let store = open(dir.path()).unwrap();
    store.keep(&[two.digest]).unwrap();
    ensure(&store, &two, &shelf).unwrap();
    store.acknowledged(&[two.digest]).unwrap();
    assert_eq!(store.collect().unwrap().layers, 1);
    assert_eq!(names(dir.path(), "blobs").len(), 2);
    drop(store);
    ensure(&open(dir.path()).unwrap(), &two, &Nobody).unwrap();
}

#[test]
fn what_is_used_in_this_boot_stays() {
    if !made::is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = versions();
    let store = open(dir.path()).unwrap();
    ensure(&store, &one, &Shelf::with(&[&one])).unwrap();
    store.keep(&[two.digest]).unwrap();
    assert_eq!(store.collect().unwrap().layers, 0);
}

/// Whoever does not know what is good removes nothing without need.
#[test]
fn nothing_is_collected_when_the_good_ones_are_not_known() {
    if !made::is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = versions();
    let shelf = Shelf::with(&[&one, &two]);
    let acknowledge = |image: &Image| {
        let store = open(dir.path()).unwrap();
        store.keep(&[image.digest]).unwrap();
        ensure(&store, image, &shelf).unwrap();
        store.acknowledged(&[image.digest]).unwrap();
        store
    };
    drop(acknowledge(&one));
    for damage in ["images.json", &format!("blobs/{}", one.digest.hex())] {
        let path = dir.path().join(damage);
        let before = fs::read(&path).unwrap();
        fs::write(&path, "damaged").unwrap();
        let store = open(dir.path()).unwrap();
        store.keep(&[two.digest]).unwrap();
        assert_eq!(store.collect().unwrap().layers, 0);
        assert_eq!(layers(dir.path()), 2, "{damage}");
        fs::write(&path, before).unwrap();
    }
    let store = acknowledge(&two);
    drop(store);
    assert_eq!(open(dir.path()).unwrap().collect().unwrap().layers, 1);
}

#[test]
fn what_is_not_whole_is_removed_when_the_store_is_opened() {
    if !made::is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (one, _) = versions();
    let shelf = Shelf::with(&[&one]);
    ensure(&open(dir.path()).unwrap(), &one, &shelf).unwrap();
    let layer = |n: usize| dir.path().join("layers").join(one.layers[n].hex());
    fs::remove_file(layer(0).join("layer.json")).unwrap();
    fs::create_dir_all(dir.path().join("layers/lost+found/x")).unwrap();
    fs::create_dir_all(dir.path().join("work/half/fs")).unwrap();
    fs::create_dir_all(dir.path().join("containers/gateway/upper")).unwrap();
    shelf.sent();
    let store = open(dir.path()).unwrap();
    assert_eq!(names(dir.path(), "layers"), [one.layers[1].hex()]);
    assert!(names(dir.path(), "work").is_empty() && !dir.path().join("containers").exists());
    let ready = ensure(&store, &one, &shelf).unwrap();
    assert!(ready.fetched > 0 && ready.reused > 0);
    assert!(matches!(open(dir.path()), Err(Error::InUse(_))));
}
