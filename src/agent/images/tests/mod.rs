//! Tests of images on a drive.

mod collection;
mod drives;
mod fetching;
pub(super) mod made;
mod mounting;
mod power_cuts;
mod remotes;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::Error;
use super::Ready;
use super::Result;
use super::Source;
use super::SourceError;
use super::Steps;
use super::Store;
use super::steps::Live;
use made::Image;
use made::Layer;

/// A store whose waits are none.
fn open(root: &Path) -> Result<Store> {
    open_with(root, Arc::new(Live))
}

fn open_with(root: &Path, steps: Arc<dyn Steps>) -> Result<Store> {
    Store::open_with(root, steps, |_| {})
}

fn ensure(store: &Store, image: &Image, source: &dyn Source) -> Result<Ready> {
    store.ensure(&image.wanted(), source, &|_| {})
}

/// True if the boot's token ran out, or was never good.
fn is_refused(error: &Error) -> bool {
    matches!(error, Error::Source { source: SourceError::Refused(_), .. })
}

/// Two images that share their base.
fn versions() -> (Image, Image) {
    let base = Layer::new()
        .dir("etc")
        .file("etc/name", "base")
        .file("etc/old", "gone later")
        .file("big", &"some text, ".repeat(20_000))
        .gzip();
    let first = Layer::new().dir("etc").file("etc/version", "1").gzip();
    let second = Layer::new().dir("etc").file("etc/version", "2").file("etc/.wh.old", "").gzip();
    let more = Layer::new().dir("more").file("more/file", &"more, ".repeat(5000)).tar();
    (Image::new(&[base.clone(), first]), Image::new(&[base, second, more]))
}

/// Names in one of the store's directories.
fn names(root: &Path, directory: &str) -> Vec<String> {
    let entries = fs::read_dir(root.join(directory)).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
