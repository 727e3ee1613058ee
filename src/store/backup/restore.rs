//! Makes a state from a backup. The tar file is not trusted: it can put regular files at paths that
//! a state has, and nothing else.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use nix::unistd::User;
use nix::unistd::geteuid;
use serde::Serialize;
use sha2::Digest;
use sha2::Sha256;
use tar::Archive;
use tar::Entry;
use tar::EntryType;

use super::super::files;
use super::super::layout;
use super::super::outside::Existing;
use super::super::outside::Outside;
use super::place::Place;
use super::place::place;
use crate::fleet::BlobId;
use crate::foreign::Foreign;

/// Most bytes of a file that is no blob: a pack of a gateway with thousands of generations.
const LONGEST: u64 = 64 * 1024 * 1024;

/// Owner and group.
type Owner = (u32, u32);

/// The outcome of a restore.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    pub files: u64,
    pub bytes: u64,
    /// There are private keys.
    pub keys: bool,
}

/// Makes the state `dir`, which must be missing or empty, from the tar file `from`. It appears as a
/// whole, or not at all.
pub fn restore(dir: &Path, from: &mut dyn Read) -> Result<Restored> {
    let dir = std::path::absolute(dir)?;
    let (Some(parent), Some(name)) = (dir.parent(), dir.file_name().and_then(OsStr::to_str)) else {
        bail!("{} is no name for a state", dir.display());
    };
    ensure_empty(&dir)?;
    // For its owner alone until all is done. A killed run leaves it, and its name says what it is.
    let unfinished =
        tempfile::Builder::new().prefix(&format!(".{name}.restoring-")).tempdir_in(parent);
    let unfinished = unfinished.with_context(|| format!("cannot write to {}", parent.display()))?;
    let (restored, owners) = unpack(unfinished.path(), from)?;
    if geteuid().is_root() {
        give(unfinished.path(), &owners)?;
    }
    let set_mode = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode));
    set_mode(unfinished.path(), layout::STATE_MODE).context("cannot set permissions")?;
    ensure_empty(&dir)?;
    // Replaces an empty directory, and nothing else.
    fs::rename(unfinished.path(), &dir)
        .and_then(|()| files::sync_parent(&dir))
        .with_context(|| format!("cannot make {}", dir.display()))?;
    let _ = unfinished.keep();
    Ok(restored)
}

fn ensure_empty(dir: &Path) -> Result<()> {
    let empty = match fs::symlink_metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        facts => facts?.is_dir() && fs::read_dir(dir)?.next().is_none(),
    };
    ensure!(empty, "{} is not empty; nothing was changed: move it away first", dir.display());
    Ok(())
}

/// Unpacks into an empty directory of our own, and returns the owner of each path.
fn unpack(dir: &Path, from: &mut dyn Read) -> Result<(Restored, BTreeMap<PathBuf, Owner>)> {
    let outside = Outside::open(dir)?;
    let (mut restored, mut owners) = (Restored::default(), BTreeMap::new());
    let mut seen = BTreeSet::new();
    for folder in layout::FOLDERS.iter().filter(|folder| folder.made == layout::Made::AtInit) {
        files::create_dir(&dir.join(folder.path), folder.mode)?;
    }
    let mut archive = Archive::new(from);
    for entry in archive.entries().context("it is no tar file")? {
        let mut entry = entry.context("it is torn, or no tar file")?;
        let path = String::from_utf8(entry.path_bytes().into_owned());
        let path = path.ok().context("a path in it is no text")?;
        let shown = Foreign::new(&path);
        let owner = owner(&entry)?;
        if entry.header().entry_type() == EntryType::Directory && path == "./" {
            owners.insert(PathBuf::new(), owner);
            continue;
        }
        ensure!(
            entry.header().entry_type() == EntryType::Regular,
            "{:?} in it is no regular file: no backup of farmgate has one",
            shown.as_str()
        );
        let Some(place) = place(&path) else {
            bail!("{:?} in it does not belong to a state of farmgate", shown.as_str());
        };
        ensure!(seen.insert(path.clone()), "{:?} is in it twice", shown.as_str());
        make_folders(dir, &path)?;
        let mode = mode(&path, place);
        outside
            .write(&path, mode, Existing::Refuse, |file| copy(&mut entry, place, &path, file))?;
        restored.files += 1;
        restored.bytes += entry.size();
        restored.keys |= place == Place::Secret;
        owners.insert(PathBuf::from(path), owner);
    }
    ensure!(
        seen.contains(layout::FORMAT) && owners.contains_key(Path::new("")),
        "it is not whole, or no backup of farmgate: {} is missing",
        layout::FORMAT
    );
    Ok((restored, owners))
}

fn copy(
    entry: &mut Entry<'_, &mut dyn Read>,
    place: Place,
    path: &str,
    file: &mut fs::File,
) -> Result<()> {
    let size = entry.size();
    let Place::Blob(_, id) = place else {
        ensure!(size <= LONGEST, "{path} in it is larger than {LONGEST} bytes");
        let copied = io::copy(entry, file).with_context(|| format!("cannot read {path}"))?;
        ensure!(copied == size, "it is torn: {path} is not whole");
        return Ok(());
    };
    let (mut hasher, mut buffer, mut left) = (Sha256::new(), vec![0; 256 * 1024], size);
    loop {
        let count = entry.read(&mut buffer).with_context(|| format!("cannot read {path}"))?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        file.write_all(&buffer[..count]).context("cannot write")?;
        left -= count as u64;
    }
    ensure!(
        left == 0 && BlobId::of_digest(hasher.finalize().into()) == id,
        "{path} in it is damaged: its bytes do not match its name"
    );
    Ok(())
}

/// Makes the folders on the way, with the permissions of a state.
fn make_folders(dir: &Path, path: &str) -> Result<()> {
    let ends = path.match_indices('/').map(|(at, _)| &path[..at]);
    for folder in ends {
        let blobs = [layout::BLOBS, layout::PRIVATE_BLOBS];
        let public = folder.starts_with(&format!("{}/{}/", layout::STORE, blobs[0]));
        let known = layout::FOLDERS.iter().find(|known| known.path == folder);
        let mode = match known {
            Some(known) => known.mode,
            None if public => layout::PASSABLE,
            None => layout::PRIVATE_DIR,
        };
        files::create_dir(&dir.join(folder), mode)?;
    }
    Ok(())
}

/// Permissions come from the layout, not from the tar file.
fn mode(path: &str, place: Place) -> u32 {
    match place {
        Place::Secret => layout::PRIVATE,
        Place::Blob(crate::store::blobs::Access::Public, _) => layout::PUBLIC,
        Place::Blob(crate::store::blobs::Access::Private, _) => layout::PRIVATE,
        Place::Plain => {
            let known = layout::FILES.iter().find(|file| file.path == path);
            known.map_or(layout::PRIVATE, |file| file.mode)
        }
    }
}

/// The owner by name, if this machine has that user, or else by number.
fn owner(entry: &Entry<'_, &mut dyn Read>) -> Result<Owner> {
    let header = entry.header();
    let named = header.username().ok().flatten().filter(|name| !name.is_empty());
    if let Some(user) = named.and_then(|name| User::from_name(name).ok().flatten()) {
        return Ok((user.uid.as_raw(), user.gid.as_raw()));
    }
    let number = |number: u64| u32::try_from(number).context("an owner in it is no number");
    Ok((number(header.uid()?)?, number(header.gid()?)?))
}

/// Gives everything to its owner. Nobody else can reach the directory yet.
fn give(dir: &Path, owners: &BTreeMap<PathBuf, Owner>) -> Result<()> {
    let of_state = owners.get(Path::new("")).copied().unwrap_or((0, 0));
    let of_pki = owners.iter().find(|(path, _)| path.ends_with("pki/ca.crt")).map(|(_, o)| *o);
    let mut open = vec![PathBuf::new()];
    while let Some(path) = open.pop() {
        let full = dir.join(&path);
        let first = path.components().next().map(|part| part.as_os_str().to_owned());
        // Root's alone, if they were.
        let vault = [layout::PKI, layout::CACHE]
            .iter()
            .any(|name| first.as_deref() == Some(OsStr::new(name)));
        let above = if vault { of_pki.unwrap_or(of_state) } else { of_state };
        let (user, group) = owners.get(&path).copied().unwrap_or(above);
        std::os::unix::fs::lchown(&full, Some(user), Some(group))
            .with_context(|| format!("cannot give {} to user {user}", full.display()))?;
        if fs::symlink_metadata(&full)?.is_dir() {
            for entry in fs::read_dir(&full)? {
                open.push(path.join(entry?.file_name()));
            }
        }
    }
    Ok(())
}
