//! Power cuts and failing drives, at each moment at which the drive changes.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use super::*;
use crate::profile::reference::Digest;
use made::Nobody;
use made::Shelf;
use made::seen;

/// Fails at a step, and at all after it if the power is cut.
struct At {
    step: u64,
    errno: Option<i32>,
    count: AtomicU64,
    what: Mutex<Vec<&'static str>>,
}

impl At {
    fn cut(step: u64) -> Arc<Self> {
        Arc::new(Self { step, errno: None, count: AtomicU64::new(0), what: Mutex::default() })
    }

    fn error(step: u64, errno: i32) -> Arc<Self> {
        let what = Mutex::default();
        Arc::new(Self { step, errno: Some(errno), count: AtomicU64::new(0), what })
    }

    fn reached(&self) -> bool {
        self.count.load(Ordering::Relaxed) > self.step
    }
}

impl Steps for At {
    fn before(&self, what: &'static str) -> io::Result<()> {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        self.what.lock().unwrap().push(what);
        match self.errno {
            None if count >= self.step => Err(io::Error::other("the power is cut")),
            Some(errno) if count == self.step => Err(io::Error::from_raw_os_error(errno)),
            _ => Ok(()),
        }
    }
}

/// A drive on which the first version works.
fn drive_with(one: &Image) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.keep(&[one.digest]).unwrap();
    ensure(&store, one, &Shelf::with(&[one])).unwrap();
    store.acknowledged(&[one.digest]).unwrap();
    dir
}

/// A boot that tries the second version, which works.
pub(super) fn update(root: &Path, steps: Arc<dyn Steps>, two: &Image, shelf: &Shelf) -> Result<()> {
    let store = open_with(root, steps)?;
    store.keep(&[two.digest])?;
    ensure(&store, two, shelf)?;
    store.acknowledged(&[two.digest])?;
    store.collect()?;
    Ok(())
}

/// The layers as they have to be.
pub(super) fn expected(one: &Image, two: &Image) -> BTreeMap<Digest, String> {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    ensure(&store, one, &Shelf::with(&[one])).unwrap();
    ensure(&store, two, &Shelf::with(&[two])).unwrap();
    let layers = one.layers.iter().chain(&two.layers);
    layers.map(|layer| (*layer, format!("{:?}", seen(&store.layer(layer).join("fs"))))).collect()
}

/// Holds after every cut: what counts is whole, the good image runs without any source, and
/// the update can be done again.
pub(super) fn assert_recovers(
    root: &Path,
    (one, two): (&Image, &Image),
    expected: &BTreeMap<Digest, String>,
    moment: &str,
) {
    let good = fs::read(root.join("images.json")).unwrap();
    let good = serde_json::from_slice::<serde_json::Value>(&good).unwrap()["good"].to_string();
    let store = open(root).unwrap();
    assert!(names(root, "work").is_empty(), "{moment}: {:?}", names(root, "work"));
    let good = if good.contains(&two.digest.hex()) {
        two
    } else {
        assert!(good.contains(&one.digest.hex()), "{moment}: {good}");
        one
    };
    ensure(&store, good, &Nobody).unwrap();
    for name in names(root, "layers") {
        let digest = Digest::from_hex(&name).unwrap();
        let found = format!("{:?}", seen(&store.layer(&digest).join("fs")));
        assert!(found == expected[&digest], "{moment}: layer {name} is not whole: {found}");
    }
    drop(store);
    update(root, Arc::new(Live), two, &Shelf::with(&[two])).unwrap();
    let mut layers: Vec<_> = two.layers.iter().map(Digest::hex).collect();
    layers.sort();
    assert_eq!(names(root, "layers"), layers, "{moment}");
    assert_eq!(names(root, "blobs").len(), 2, "{moment}");
    assert!(names(root, "fetch").is_empty(), "{moment}");
    ensure(&open(root).unwrap(), two, &Nobody).unwrap();
}

#[test]
fn a_power_cut_leaves_the_old_or_the_new() {
    if !made::is_root() {
        return;
    }
    let (one, two) = versions();
    let expected = expected(&one, &two);
    let mut moments = BTreeSet::new();
    let mut step = 0;
    loop {
        let dir = drive_with(&one);
        let steps = At::cut(step);
        let result = update(dir.path(), steps.clone(), &two, &Shelf::with(&[&two]));
        if !steps.reached() {
            result.unwrap();
            break;
        }
        result.unwrap_err();
        let what = steps.what.lock().unwrap()[step as usize];
        moments.insert(what);
        assert_recovers(dir.path(), (&one, &two), &expected, &format!("step {step}, {what}"));
        step += 1;
    }
    assert!(step > 60, "only {step} moments");
    for what in ["unpack an entry", "sync", "rename", "discard", "remove", "write"] {
        assert!(moments.contains(what), "{what} is not among {moments:?}");
    }
}

#[test]
fn an_error_of_the_drive_leaves_the_old_or_the_new() {
    if !made::is_root() {
        return;
    }
    let (one, two) = versions();
    let expected = expected(&one, &two);
    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;
    const EROFS: i32 = 30;
    for errno in [EIO, ENOSPC, EROFS] {
        let mut step = 0;
        loop {
            let dir = drive_with(&one);
            let steps = At::error(step, errno);
            let result = update(dir.path(), steps.clone(), &two, &Shelf::with(&[&two]));
            if !steps.reached() {
                result.unwrap();
                break;
            }
            if let Err(error) = result {
                assert!(error.is_of_drive(), "{error}");
                assert_eq!(matches!(error, Error::ReadOnly { .. }), errno == EROFS, "{error}");
            }
            assert_recovers(dir.path(), (&one, &two), &expected, &format!("step {step}, {errno}"));
            // Not each step, for three errors: they are the same code.
            step += if errno == EIO { 1 } else { 3 };
        }
        assert!(step > 60, "only {step} moments");
    }
}
