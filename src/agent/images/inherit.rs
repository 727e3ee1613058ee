//! Directories that a layer has something in, but does not describe, look as in the layers below.
//!
//! Some tools pack `tmp/file` without `tmp/`. Layers are unpacked apart from each other, so such a
//! directory is made with a common mode. overlayfs shows the topmost of several directories of one
//! name: `/tmp` would lose its mode. So before a mount they are made in the container's own
//! directory, which is above all layers, as the topmost layer describes them that does.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::fs::File;
use std::io;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::lchown;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::ResolveFlags;
use rustix::fs::Stat;
use rustix::fs::fgetxattr;
use rustix::fs::fstat;
use rustix::fs::openat2;
use rustix::io::Errno;

use super::store::LayerRecord;

/// Most directories that are looked at. Images have a handful.
const MAX_DIRECTORIES: usize = 20_000;

struct Layer {
    root: File,
    implicit: BTreeSet<Vec<u8>>,
    /// True if it describes its topmost directory.
    described: bool,
}

/// The form in which a layer has a path.
enum Found {
    /// As a directory.
    Directory { stat: Stat, opaque: bool },
    /// Not at all: the layers below decide.
    Nothing,
    /// Hidden, or as something else.
    Hidden,
}

/// Makes `upper` ready to be above `layers`, which are given from the bottom up.
pub(super) fn prepare(layers: &[PathBuf], upper: &Path) -> io::Result<()> {
    let layers: Vec<Layer> =
        layers.iter().map(|path| Layer::open(path)).collect::<Result<_, _>>()?;
    let described = layers.iter().rev().find(|layer| layer.described);
    match described {
        Some(layer) => look_like(upper, &fstat(&layer.root)?)?,
        None => fs::set_permissions(upper, fs::Permissions::from_mode(0o755))?,
    }
    // Nothing is below the lowest layer.
    let mut paths = BTreeSet::new();
    for layer in layers.iter().skip(1) {
        paths.extend(layer.implicit.iter());
    }
    if paths.len() > MAX_DIRECTORIES {
        tracing::warn!("too many directories without a description; they keep a common mode");
        return Ok(());
    }
    // In their order a directory comes before those in it.
    for path in paths {
        if let Some(stat) = described_below(&layers, path)? {
            make(&layers, upper, path, &stat)?;
        }
    }
    Ok(())
}

/// The description of a directory by a layer below, where the topmost layer has none.
fn described_below(layers: &[Layer], path: &[u8]) -> io::Result<Option<Stat>> {
    let mut above = false;
    for layer in layers.iter().rev() {
        match layer.find(path)? {
            Found::Directory { stat, .. } if !layer.implicit.contains(path) => {
                return Ok(above.then_some(stat));
            }
            Found::Directory { opaque, .. } => {
                above = true;
                if opaque {
                    return Ok(None);
                }
            }
            Found::Nothing => {}
            Found::Hidden => return Ok(None),
        }
    }
    Ok(None)
}

/// Makes a directory in `upper`, and those that it is in.
fn make(layers: &[Layer], upper: &Path, path: &[u8], stat: &Stat) -> io::Result<()> {
    for (end, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
        let parent = &path[..end];
        let directory = upper.join(OsStr::from_bytes(parent));
        if directory.symlink_metadata().is_ok() {
            continue;
        }
        for layer in layers.iter().rev() {
            if let Found::Directory { stat, .. } = layer.find(parent)? {
                create_like(&directory, &stat)?;
                break;
            }
        }
    }
    create_like(&upper.join(OsStr::from_bytes(path)), stat)
}

fn create_like(path: &Path, stat: &Stat) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => look_like(path, stat),
    }
}

fn look_like(path: &Path, stat: &Stat) -> io::Result<()> {
    lchown(path, Some(stat.st_uid), Some(stat.st_gid))?;
    fs::set_permissions(path, fs::Permissions::from_mode(stat.st_mode & 0o7777))
}

impl Layer {
    fn open(path: &Path) -> io::Result<Self> {
        let list = match fs::read(path.join("implicit")) {
            Ok(list) => list,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let list = list.split(|byte| *byte == 0).filter(|path| !path.is_empty());
        let record = fs::read(path.join("layer.json"))?;
        let record = serde_json::from_slice::<LayerRecord>(&record)?;
        Ok(Self {
            root: File::open(path.join("fs"))?,
            implicit: list.map(<[u8]>::to_vec).collect(),
            described: record.root,
        })
    }

    fn find(&self, path: &[u8]) -> io::Result<Found> {
        let mut opaque = false;
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        for end in ends.chain([path.len()]) {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            let directory = match openat2(&self.root, &path[..end], flags, Mode::empty(), within) {
                Ok(directory) => directory,
                Err(Errno::NOENT) if opaque => return Ok(Found::Hidden),
                Err(Errno::NOENT) => return Ok(Found::Nothing),
                Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Found::Hidden),
                Err(error) => return Err(error.into()),
            };
            opaque |= fgetxattr(&directory, "trusted.overlay.opaque", &mut [0; 4]) == Ok(1);
            if end == path.len() {
                return Ok(Found::Directory { stat: fstat(&directory)?, opaque });
            }
        }
        Ok(Found::Nothing)
    }
}
