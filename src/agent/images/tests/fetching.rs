//! Answers of sources: good answers, cut ones, lies.

use std::fs;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::Collected;
use super::*;
use crate::profile::reference::Digest;
use made::Fault;
use made::Nobody;
use made::Shelf;

#[test]
fn layers_are_fetched_and_unpacked_once() {
    if !made::is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let (one, two) = versions();
    let shelf = Shelf::with(&[&one, &two]);
    let told = AtomicU64::new(0);
    let ready = store.ensure(&one.wanted(), &shelf, &|progress| {
        assert!(progress.fetched + progress.reused <= progress.size);
        told.fetch_max(progress.unpacked, Ordering::Relaxed);
    });
    let ready = ready.unwrap();
    assert_eq!(ready.fetched, shelf.sent());
    assert_eq!((told.into_inner(), ready.reused), (ready.fetched, 0));
    assert_eq!(ready.layers, one.layers);
    assert_eq!(ready.config.environment, ["PATH=/bin"]);

    let again = ensure(&store, &one, &Nobody).unwrap();
    assert_eq!((again.fetched, again.reused), (0, ready.fetched));
    let second = ensure(&store, &two, &shelf).unwrap();
    let base = one.blobs[&one.layers[0]].len() as u64;
    assert_eq!((second.reused, second.fetched), (base, shelf.sent()));
    let path = store.layer(&two.layers[1]).join("fs").join("etc/version");
    assert_eq!(fs::read_to_string(path).unwrap(), "2");
    assert!(names(dir.path(), "fetch").is_empty() && names(dir.path(), "work").is_empty());

    // The next boot asks nobody.
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!(ensure(&store, &two, &Nobody).unwrap().fetched, 0);
}

#[test]
fn a_cut_answer_goes_on_where_it_was_cut() {
    if !made::is_root() {
        return;
    }
    let (one, _) = versions();
    let size = one.layers.iter().map(|layer| one.blobs[layer].len() as u64).sum::<u64>();
    let away = SourceError::Away { why: "busy".to_owned(), retry_after: Some(Duration::MAX) };
    let faults =
        [Fault::Cut(100), Fault::No(away), Fault::Broken(500), Fault::Cut(0), Fault::Cut(1)];
    for no_ranges in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        let shelf = Shelf { no_ranges, ..Shelf::with(&[&one]) }.failing(&faults);
        ensure(&store, &one, &shelf).unwrap();
        let sent = shelf.sent();
        assert!(if no_ranges { sent > size } else { sent == size }, "{sent} of {size}");
    }
}

#[test]
fn a_cut_pull_goes_on_in_the_next_boot() {
    if !made::is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (one, _) = versions();
    let refused = || Fault::No(SourceError::Refused("401 Unauthorized".to_owned()));
    let shelf = Shelf::with(&[&one]).failing(&[Fault::Cut(300), refused()]);
    let error = ensure(&open(dir.path()).unwrap(), &one, &shelf).unwrap_err();
    assert!(is_refused(&error) && !error.is_of_drive(), "{error}");
    assert!(error.to_string().contains("401"), "{error}");
    let first = shelf.sent();
    let ready = ensure(&open(dir.path()).unwrap(), &one, &shelf).unwrap();
    assert_eq!((ready.reused, ready.fetched), (first, shelf.sent()));

    // What the drive made of it is another: it is fetched anew.
    let dir = tempfile::tempdir().unwrap();
    let shelf = Shelf::with(&[&one]).failing(&[Fault::Cut(300), refused()]);
    ensure(&open(dir.path()).unwrap(), &one, &shelf).unwrap_err();
    let part = dir.path().join("fetch").join(one.layers[0].hex());
    fs::write(&part, vec![0; 300]).unwrap();
    let ready = ensure(&open(dir.path()).unwrap(), &one, &shelf).unwrap();
    assert_eq!(ready.reused, 0);
    assert_eq!(ensure(&open(dir.path()).unwrap(), &one, &Nobody).unwrap().fetched, 0);
}

#[test]
fn a_source_that_brings_nothing_is_given_up() {
    if !made::is_root() {
        return;
    }
    let (one, _) = versions();
    for fault in [Fault::Cut(0), Fault::Broken(0)] {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::with(&[&one]).failing(&vec![fault; 100]);
        let error = ensure(&open(dir.path()).unwrap(), &one, &shelf).unwrap_err();
        let away = matches!(error, Error::Source { source: SourceError::Away { .. }, .. });
        assert!(away && shelf.faults.lock().unwrap().len() == 92, "{error}");
    }
    // Without ranges, an answer that is always cut at the same place never ends.
    let dir = tempfile::tempdir().unwrap();
    let shelf = Shelf { no_ranges: true, ..Shelf::with(&[&one]) };
    let shelf = shelf.failing(&vec![Fault::Cut(200); 100]);
    ensure(&open(dir.path()).unwrap(), &one, &shelf).unwrap_err();
    assert_eq!(shelf.faults.lock().unwrap().len(), 92);
}

#[test]
fn lies_leave_nothing_behind() {
    if !made::is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let (one, two) = versions();
    let shelf = Shelf::with(&[&one]).failing(&[Fault::Lie]);
    let error = ensure(&store, &one, &shelf).unwrap_err();
    assert!(matches!(error, Error::Wrong { what: "layer", .. }), "{error}");
    assert!(names(dir.path(), "fetch").is_empty() && names(dir.path(), "layers").is_empty());

    // Another manifest, and another configuration, under the digest that is wanted.
    let swapped_for = |digest: &Digest, bytes: &[u8]| {
        let dir = tempfile::tempdir().unwrap();
        let mut swapped = one.clone();
        swapped.blobs.insert(*digest, bytes.to_vec());
        ensure(&open(dir.path()).unwrap(), &swapped, &Shelf::with(&[&swapped])).unwrap_err()
    };
    let error = swapped_for(&one.digest, &two.blobs[&two.digest]);
    assert!(matches!(error, Error::Wrong { what: "manifest", .. }), "{error}");
    let config = one.blobs.iter().find(|(_, blob)| blob.starts_with(b"{\"arch")).unwrap().0;
    let error = swapped_for(config, b"{}");
    assert!(matches!(error, Error::Wrong { what: "configuration", .. }), "{error}");
    assert!(matches!(
        ensure(&store, &two, &Shelf::default()).unwrap_err(),
        Error::Source { source: SourceError::Missing(_), .. }
    ));
    ensure(&store, &one, &shelf).unwrap();
}

#[test]
fn images_that_cannot_run_are_refused_before_their_layers_come() {
    if !made::is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let foreign = Image::of(&[Layer::new().gzip()], "mips64le");
    let shelf = Shelf::with(&[&foreign]);
    let error = ensure(&store, &foreign, &shelf).unwrap_err();
    assert!(error.to_string().contains("but for linux/mips64le"), "{error}");
    let many = Image::new(&vec![Layer::new().gzip(); 128]);
    let error = ensure(&store, &many, &Shelf::with(&[&many])).unwrap_err();
    assert!(error.to_string().contains("128 layers"), "{error}");
    assert_eq!(shelf.sent(), 0);
}

#[test]
fn the_digest_of_an_index_means_the_variant_for_gateways() {
    if !made::is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let image = versions().0.in_index("amd64");
    let ready = ensure(&store, &image, &Shelf::with(&[&image])).unwrap();
    assert_eq!((ready.digest, &ready.layers), (image.digest, &image.layers));
    drop(store);
    let store = open(dir.path()).unwrap();
    store.acknowledged(&[image.digest]).unwrap();
    assert_eq!(store.collect().unwrap(), Collected::default());
    ensure(&store, &image, &Nobody).unwrap();

    let other = versions().1.in_index("mips64le");
    let error = ensure(&store, &other, &Shelf::with(&[&other])).unwrap_err();
    assert!(error.to_string().contains("there is linux/mips64le"), "{error}");
    let nested = image.in_index("amd64");
    let error = ensure(&store, &nested, &Shelf::with(&[&nested])).unwrap_err();
    assert!(error.to_string().contains("too many indexes"), "{error}");
}

#[test]
fn a_layer_that_cannot_be_unpacked_leaves_nothing_behind() {
    if !made::is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let good = Layer::new().file("a", "b").gzip();
    let evil = Layer::new().file("a", "b").file("../../escaped", "x").gzip();
    let image = Image::new(&[good, evil.clone(), Layer::new().file("c", "d").gzip()]);
    let error = ensure(&store, &image, &Shelf::with(&[&image])).unwrap_err();
    assert!(matches!(error, Error::Layer { .. }) && !error.is_of_drive(), "{error}");
    assert!(error.to_string().contains("leads out of the image"), "{error}");
    assert_eq!(names(dir.path(), "layers"), [image.layers[0].hex()]);
    assert!(names(dir.path(), "work").is_empty());
    assert!(!store.fetched(&image.layers[1]).exists());
}
