//! Files that are there as a whole or not at all, whatever kills the writer.

use std::fs::DirBuilder;
use std::fs::File;
use std::fs::Permissions;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use atomic_write_file::AtomicWriteFile;
use atomic_write_file::unix::OpenOptionsExt as _;
use rustix::fs::AtFlags;
use rustix::fs::CWD;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::lock;

/// How the name of a directory begins that is not finished. An interrupted command may
/// leave it behind, empty.
pub const UNBORN: &str = ".dir-";

/// Writes the file at `path` with the permissions `mode`, in place of the regular
/// file that stood there. Once this returns, the file outlasts a power failure; when it
/// fails, what stood there is as it was.
///
/// Like everything that is made here, it belongs to the owner of its directory: when
/// root works on the state of the server's own user, the server can still read it.
pub fn replace(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    replace_io(path, mode, true, write).with_context(|| format!("cannot write {}", path.display()))
}

/// The same for a file outside of the state, which belongs to whoever makes it.
pub fn export(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    replace_io(path, mode, false, write).with_context(|| format!("cannot write {}", path.display()))
}

fn replace_io(
    path: &Path,
    mode: u32,
    ours: bool,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    // Something else, `/dev/stdout` for instance, would be replaced and not written to.
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            return Err(io::Error::other("what is there is not a regular file"));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file =
        AtomicWriteFile::options().preserve_mode(false).try_preserve_owner(false).open(path)?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    if ours {
        adopt(file.as_file(), parent(path))?;
    }
    write(&mut file)?;
    file.commit()?;
    sync_parent(path)
}

/// Makes the file at `path` from an open, already complete temporary file (see
/// [`unnamed`]). A file that stands there already is left as it is.
pub fn link(file: &File, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    let descriptor = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
    match rustix::fs::linkat(CWD, descriptor, CWD, path, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => sync_parent(path),
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The same in place of a file that stands there. The name leads to the one or the other at any
/// moment.
pub fn link_over(file: &File, path: &Path) -> io::Result<()> {
    let beside = path.with_extension("new");
    // Of somebody who was killed.
    remove_if_there(&beside)?;
    link(file, &beside)?;
    match std::fs::rename(&beside, path) {
        // Somebody who does the same has taken it, and put it there.
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.exists() => {}
        renamed => renamed?,
    }
    sync_parent(path)
}

/// A file without a name in `directory`, which is gone when closed unless it is
/// given a name by [`link`].
pub fn unnamed(directory: &Path, mode: u32) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(directory, flags, Mode::from_raw_mode(mode))?);
    // The umask of whoever runs this has no say.
    file.set_permissions(Permissions::from_mode(mode))?;
    adopt(&file, directory)?;
    Ok(file)
}

/// Opens a file of this process's own to append to it; it is made when it is not there.
pub fn append(path: &Path) -> io::Result<File> {
    loop {
        match File::options().append(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            file => return file,
        }
        // Not for others: whoever can open it could hold its lock for ever. And it has its
        // owner before it has its name: the server's own user must always be able to open it.
        link(&unnamed(parent(path), 0o600)?, path)?;
    }
}

/// Gives what root has made in somebody's directory to that owner.
fn adopt(file: &File, directory: &Path) -> io::Result<()> {
    match owner_of(directory)? {
        Some((user, group)) => std::os::unix::fs::fchown(file, Some(user), Some(group)),
        None => Ok(()),
    }
}

/// User and group of a directory of somebody else, when this is root.
fn owner_of(directory: &Path) -> io::Result<Option<(u32, u32)>> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    let metadata = std::fs::metadata(directory)?;
    Ok((metadata.uid() != 0).then(|| (metadata.uid(), metadata.gid())))
}

/// Makes a directory with exactly the permissions `mode`, if it is not there.
pub fn create_dir(path: &Path, mode: u32) -> Result<()> {
    let create = || -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        if owner_of(parent(path))?.is_none() {
            match DirBuilder::new().mode(mode).create(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {
                    return Ok(());
                }
                result => result?,
            }
            std::fs::set_permissions(path, Permissions::from_mode(mode))?;
            return sync_parent(path);
        }
        // It has its owner before it has its name.
        let directory = tempfile::Builder::new().prefix(UNBORN).tempdir_in(parent(path))?;
        let handle = File::open(directory.path())?;
        handle.set_permissions(Permissions::from_mode(mode))?;
        adopt(&handle, parent(path))?;
        match std::fs::rename(directory.path(), path) {
            // Somebody else was quicker.
            Err(_) if path.is_dir() => return Ok(()),
            result => result?,
        }
        let _ = directory.keep();
        sync_parent(path)
    };
    create().with_context(|| format!("cannot make the directory {}", path.display()))
}

/// Held until dropped.
#[must_use]
pub struct Lock {
    _file: File,
}

/// Takes the lock at `path` when nobody else holds it any more, or gives up.
pub fn lock(path: &Path) -> Result<Lock> {
    lock_within(path, lock::PATIENCE)
}

/// The same with another patience than that of commands; gives up with [`lock::Busy`].
pub fn lock_within(path: &Path, patience: Duration) -> Result<Lock> {
    let file = append(path).with_context(|| format!("cannot lock {}", path.display()))?;
    lock::take(&file, path, patience)?;
    Ok(Lock { _file: file })
}

/// Takes the lock at `path` if nobody else holds it.
pub fn try_lock(path: &Path) -> Result<Option<Lock>> {
    match lock_within(path, Duration::ZERO) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if lock::Busy::is_cause_of(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Longer than any credentials.
const MAX_SECRET_LEN: u64 = 16 * 1024;

/// Reads credentials, and says where they are: the file that the configuration names, which
/// must be for its owner alone, else `name` in the folder that systemd puts credentials in,
/// whose permissions are systemd's affair. `None` if there are none.
pub fn read_secret(
    configured: Option<&Path>,
    systemd: Option<&Path>,
    name: &str,
) -> Result<Option<(PathBuf, String)>> {
    let given = systemd.map(|dir| dir.join(name)).filter(|path| path.exists());
    let Some(path) = configured.map(Path::to_path_buf).or(given) else { return Ok(None) };
    let cannot = || format!("cannot read {}", path.display());
    let file = File::open(&path).with_context(cannot)?;
    let mode = file.metadata().with_context(cannot)?.mode();
    ensure!(
        configured.is_none() || mode & 0o077 == 0,
        "{0} can be read by others (mode {1:o}): chmod 600 {0}, and make new credentials if \
         others may have done so",
        path.display(),
        mode & 0o777
    );
    let mut text = String::new();
    file.take(MAX_SECRET_LEN).read_to_string(&mut text).with_context(cannot)?;
    Ok(Some((path, text)))
}

/// Removes a file; that there is none is as good.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes sure that a name which was added to, or taken from, a directory stays so.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(parent(path))?.sync_all()
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `iso make -o /dev/stdout` used to put an image in the place of that link.
    #[test]
    fn only_regular_files_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        let write = |path: &Path, text: &'static [u8]| replace(path, 0o600, |f| f.write_all(text));
        write(&file, b"one").unwrap();
        write(&file, b"two").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"two");
        std::os::unix::fs::symlink("file", &link).unwrap();
        let socket = dir.path().join("socket");
        let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for path in [&*link, &*socket, dir.path()] {
            let error = format!("{:#}", write(path, b"three").unwrap_err());
            assert!(error.contains("not a regular file"), "{error}");
        }
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&file).unwrap(), b"two");
    }

    #[test]
    fn a_writer_that_fails_leaves_what_was_there_and_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        replace(&file, 0o644, |f| f.write_all(b"old")).unwrap();
        let failed = replace(&file, 0o644, |f| {
            f.write_all(b"half")?;
            Err(io::Error::other("full"))
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
