//! The directory of a volume on the drive, encrypted where that is asked for. Touches the drive.

use std::fs;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::Places;
use super::fscrypt;

/// Between the name of an encrypted volume and that of its key: no volume has it in its name.
const KEY: char = '@';

/// Directories of other keys that are kept of a volume.
const OTHER_KEYS: usize = 2;

/// File systems in memory (`linux/magic.h`): what is in them needs no encryption, and is gone with
/// the power.
const TMPFS: i64 = 0x0102_1994;
const RAMFS: i64 = 0x8584_58f6;

/// Finds or makes the directory of a volume. With another key it is another directory: a key that
/// comes back, as with an older generation, finds its files. Without a usable key the volume is in
/// memory, and the reason is returned as well.
pub(super) fn place(
    places: Places<'_>,
    name: &str,
    encrypt: Option<&str>,
    secret: &dyn Fn(&str) -> Option<String>,
) -> io::Result<(PathBuf, Option<String>)> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(fits) {
        return Err(io::Error::other(format!("{name:?} is no name of a volume")));
    }
    fs::create_dir_all(places.drive)?;
    let Some(line) = encrypt.filter(|_| !is_memory(places.drive)) else {
        return Ok((private(&places.drive.join(name))?, None));
    };
    match encrypted(places.drive, name, secret(line)) {
        Ok(home) => {
            // What was there before it was encrypted stays readable for nobody.
            let plain = places.drive.join(name);
            if plain.exists() {
                move_in(&plain, &home)?;
            }
            forget_keys(places.drive, name, &home)?;
            Ok((home, None))
        }
        Err(error) => {
            fs::create_dir_all(places.memory)?;
            let home = private(&places.memory.join(name))?;
            Ok((home, Some(format!("in memory, since it cannot be encrypted: {error}"))))
        }
    }
}

fn encrypted(drive: &Path, name: &str, secret: Option<String>) -> io::Result<PathBuf> {
    let secret = secret.ok_or_else(|| io::Error::other("the boot's secrets have no key for it"))?;
    let key = BASE64_STANDARD.decode(secret.trim());
    let key = key.map_err(|_| io::Error::other("its key is no base64"))?;
    let explained = |error: io::Error| match error.raw_os_error() {
        Some(code) if code == rustix::io::Errno::OPNOTSUPP.raw_os_error() => io::Error::other(
            "the drive's file system was made without it (`tune2fs -O encrypt`, or a new one)",
        ),
        Some(code) if code == rustix::io::Errno::NOTTY.raw_os_error() => {
            io::Error::other("the drive's file system has no encryption")
        }
        _ => error,
    };
    let key = fscrypt::add_key(drive, &key).map_err(explained)?;
    let home = private(&drive.join(format!("{name}{KEY}{}", hex::encode(key.0))))?;
    fscrypt::set_policy(&home, key).map_err(explained)?;
    Ok(home)
}

/// Moves the files of a volume that was not encrypted, and removes it. A copy that is there already
/// is the newer one.
fn move_in(plain: &Path, home: &Path) -> io::Result<()> {
    if !home.join("tree").exists() {
        let unfinished = home.join("moving");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        copy_all(&plain.join("tree"), &unfinished)?;
        fs::rename(&unfinished, home.join("tree"))?;
        fs::File::open(home)?.sync_all()?;
        rustix::fs::syncfs(fs::File::open(home)?)?;
    }
    fs::remove_dir_all(plain)
}

/// Removes what older keys have encrypted, but for the latest: an older generation may be back
/// tomorrow.
fn forget_keys(drive: &Path, name: &str, home: &Path) -> io::Result<()> {
    let prefix = format!("{name}{KEY}");
    let mut others = Vec::new();
    for entry in fs::read_dir(drive)? {
        let entry = entry?;
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix));
        if ours && entry.path() != home {
            others.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    others.sort();
    others.truncate(others.len().saturating_sub(OTHER_KEYS));
    others.iter().try_for_each(|(_, path)| fs::remove_dir_all(path))
}

fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    if !from.exists() {
        return fs::create_dir_all(to);
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, from, to) = (entry.file_type()?, entry.path(), to.join(entry.file_name()));
        let facts = fs::symlink_metadata(&from)?;
        if kind.is_dir() {
            copy_all(&from, &to)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&from)?, &to)?;
        } else if kind.is_file() {
            fs::copy(&from, &to)?;
        } else {
            continue;
        }
        let owner = std::os::unix::fs::MetadataExt::uid(&facts);
        let group = std::os::unix::fs::MetadataExt::gid(&facts);
        std::os::unix::fs::lchown(&to, Some(owner), Some(group))?;
    }
    Ok(())
}

fn private(path: &Path) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    Ok(path.to_owned())
}

fn is_memory(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|facts| matches!(facts.f_type, TMPFS | RAMFS))
}
