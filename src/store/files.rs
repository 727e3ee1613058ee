//! Files that are there as a whole or not at all, whatever kills the writer.

use std::fs::DirBuilder;
use std::fs::File;
use std::fs::Permissions;
use std::io;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use atomic_write_file::AtomicWriteFile;
use atomic_write_file::unix::OpenOptionsExt as _;
use rustix::fs::AtFlags;
use rustix::fs::CWD;
use rustix::fs::FlockOperation;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

/// Writes the file at `path` with the permissions `mode`, in place of whatever
/// stood there. Once this returns, the file outlasts a power failure; when it
/// fails, what stood there is as it was.
pub fn replace(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    replace_io(path, mode, write).with_context(|| format!("cannot write {}", path.display()))
}

fn replace_io(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = AtomicWriteFile::options().preserve_mode(false).open(path)?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
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

/// A file without a name in `directory`, which is gone when closed unless it is
/// given a name by [`link`].
pub fn unnamed(directory: &Path, mode: u32) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(directory, flags, Mode::from_raw_mode(mode))?);
    // The umask of whoever runs this has no say.
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// Makes a directory with exactly the permissions `mode`, if it is not there.
pub fn create_dir(path: &Path, mode: u32) -> Result<()> {
    let create = || {
        match DirBuilder::new().mode(mode).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {
                return Ok(());
            }
            result => result?,
        }
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
        sync_parent(path)
    };
    create().with_context(|| format!("cannot make the directory {}", path.display()))
}

/// Held until dropped.
#[must_use]
pub struct Lock {
    _file: File,
}

/// Waits until nobody else holds the lock at `path`.
pub fn lock(path: &Path) -> Result<Lock> {
    let open = || -> io::Result<File> {
        // Not for others: whoever can open it could hold it for ever.
        let file = File::options().create(true).append(true).mode(0o600).open(path)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    };
    let file = open().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(Lock { _file: file })
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
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}
