//! Atomic files: each exists completely or not at all, even if the writer is killed. Touches the
//! disk.

use std::fs::File;
use std::fs::Permissions;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::fchown;
use std::path::Path;
use std::path::PathBuf;

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

use super::owner;
use super::owner::Rights;
use super::owner::as_caller;

/// Prefix of unfinished directories. An interrupted command may leave an empty one.
pub const UNBORN: &str = ".dir-";

/// Atomically replaces the regular file at `path`, or makes it, with the permissions `mode`. Once
/// this returns, the file survives a power failure; if it fails, the old file is unchanged.
///
/// The file belongs to the owner of the state, even if root runs this: see [`owner`].
pub fn replace(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let replace = || {
        ensure_ours(parent(path))?;
        replace_io(path, mode, None, write)
    };
    replace().with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a file outside of the state as [`replace`] does, with the caller's rights and ownership.
pub fn export(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    as_caller(|| replace_io(path, mode, None, write))
        .with_context(|| format!("cannot write {}", path.display()))
}

pub(super) fn replace_io(
    path: &Path,
    mode: u32,
    owner: Option<Rights>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    // Something else, for example `/dev/stdout`, would be replaced instead of written to.
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            return Err(io::Error::other("it is not a regular file"));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file =
        AtomicWriteFile::options().preserve_mode(false).try_preserve_owner(false).open(path)?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    if let Some(Rights { user, group }) = owner {
        fchown(file.as_file(), Some(user.as_raw()), Some(group.as_raw()))?;
    }
    write(&mut file)?;
    // Syncs the file, renames it, and syncs the directory.
    file.commit()
}

/// Removes temporary files that killed calls of [`replace`] for these names left in `dir`.
pub(super) fn sweep(dir: &Path, names: &[&str]) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let found = entry.file_name();
        let found = found.to_str().unwrap_or_default();
        if names.iter().any(|name| is_left_over(found, name)) {
            remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}

/// Says whether this is the temporary file of a killed [`replace`] of `name`.
pub(super) fn is_left_over(found: &str, name: &str) -> bool {
    const SUFFIX: usize = 6;
    found
        .strip_prefix('.')
        .and_then(|rest| rest.strip_prefix(name)?.strip_prefix('.'))
        .is_some_and(|rest| rest.len() == SUFFIX && rest.chars().all(|c| c.is_ascii_alphanumeric()))
}

/// Gives an open, complete temporary file (see [`unnamed`]) the name `path`. An existing file stays
/// unchanged.
pub fn link(file: &File, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    match name(file, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        named => named.and_then(|()| sync_parent(path)),
    }
}

/// Gives an unnamed file the name `path`. Neither the file nor its name is durable then.
pub(super) fn name(file: &File, path: &Path) -> io::Result<()> {
    let descriptor = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
    Ok(rustix::fs::linkat(CWD, descriptor, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

/// Atomically replaces the file at a name with this one.
pub fn link_over(file: &File, path: &Path) -> io::Result<()> {
    let beside = path.with_extension("new");
    // A killed process may have left it.
    remove_if_there(&beside)?;
    link(file, &beside)?;
    match std::fs::rename(&beside, path) {
        // Another process that does the same has renamed it already.
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.exists() => {}
        renamed => renamed?,
    }
    sync_parent(path)
}

/// Makes an unnamed file in `directory`. It vanishes when closed, unless [`link`] gives it a name.
pub fn unnamed(directory: &Path, mode: u32) -> io::Result<File> {
    ensure_ours(directory)?;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(directory, flags, Mode::from_raw_mode(mode))?);
    // Independent of the umask.
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// Opens a file of the state for appending, and makes it if it is missing.
pub fn append(path: &Path) -> io::Result<File> {
    open_or_make(path, OFlags::WRONLY | OFlags::APPEND)
}

/// The same, for reading and for writing anywhere in it.
pub(super) fn read_write_or_make(path: &Path) -> io::Result<File> {
    open_or_make(path, OFlags::RDWR)
}

/// The same for a file that must exist.
pub(super) fn read_write(path: &Path) -> io::Result<File> {
    open_own(path, OFlags::RDWR)
}

fn open_or_make(path: &Path, access: OFlags) -> io::Result<File> {
    // Each way out of the loop is one of three: the file can be opened, it can be made, or neither.
    // More patience for a file that is made and removed in turns is not worthwhile.
    const TRIES: usize = 100;
    for _ in 0..TRIES {
        match open_own(path, access) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        // For its owner alone: a process that can open it could hold its lock forever.
        link(&unnamed(parent(path), 0o600)?, path)?;
    }
    Err(io::Error::other("other processes keep making and removing it"))
}

fn open_own(path: &Path, access: OFlags) -> io::Result<File> {
    // A link could lead anywhere, and opening a pipe would block.
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => regular(File::from(file)),
        Err(Errno::LOOP | Errno::NXIO) => Err(not_regular()),
        Err(error) => Err(error.into()),
    }
}

/// Reads a regular file of the state. A pipe is refused, since reading it could block forever.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads the last `most` bytes of a regular file of the state.
pub(super) fn read_end(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut file = open(path)?;
    let length = file.metadata()?.len();
    file.seek(io::SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a text file of the state, as [`read`] does.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    io::read_to_string(open(path)?)
}

/// Opens a regular file for reading, with the rights of the state's owner. A pipe is refused.
pub fn open(path: &Path) -> io::Result<File> {
    // Without NONBLOCK, opening a pipe waits for a writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    regular(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_regular()) }
}

fn not_regular() -> io::Error {
    io::Error::other("it is not a regular file")
}

/// Larger than any file that is read at once: stops mistakes such as naming a disk.
const MOST_GIVEN: u64 = 64 * 1024 * 1024;

/// Opens an image that the operator named: a file, or the disk that it was written to.
pub fn open_image(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = as_caller(|| rustix::fs::open(path, flags, Mode::empty()))?;
    let file = File::from(file);
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_block_device() { Ok(file) } else { Err(not_regular()) }
}

/// Reads a regular file that the operator named. A pipe is refused: under a lock, all other
/// commands would wait for its writer.
pub fn read_given(path: &Path) -> Result<Vec<u8>> {
    let read = || -> io::Result<Vec<u8>> {
        let (mut bytes, file) = (Vec::new(), as_caller(|| open(path))?);
        file.take(MOST_GIVEN + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MOST_GIVEN {
            return Err(io::Error::other(format!("it is larger than {MOST_GIVEN} bytes")));
        }
        Ok(bytes)
    };
    read().with_context(|| format!("cannot read {}", path.display()))
}

/// Fails if root would make a file in another user's directory. [`owner`] prevents that; this is
/// the second and last check.
fn ensure_ours(directory: &Path) -> io::Result<()> {
    if !Rights::now().user.is_root() {
        return Ok(());
    }
    let uid = std::fs::metadata(directory)?.uid();
    if owner::is_as_good_as_root(uid) {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{0} belongs to user {uid}, and what it is in does not: give all of the state to one user \
         (chown -R)",
        directory.display()
    )))
}

/// Makes a directory with exactly the permissions `mode`, if it is missing.
pub fn create_dir(path: &Path, mode: u32) -> Result<()> {
    let create = || -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        ensure_ours(parent(path))?;
        // It gets its permissions before its name.
        let directory = tempfile::Builder::new().prefix(UNBORN).tempdir_in(parent(path))?;
        File::open(directory.path())?.set_permissions(Permissions::from_mode(mode))?;
        match std::fs::rename(directory.path(), path) {
            // Another process was faster.
            Err(_) if path.is_dir() => return Ok(()),
            result => result?,
        }
        let _ = directory.keep();
        sync_parent(path)
    };
    create().with_context(|| format!("cannot make the directory {}", path.display()))
}

/// Makes a directory for keys. An existing one must belong to this user, and gets the permissions
/// `mode`.
pub(super) fn create_own_dir(path: &Path, mode: u32) -> Result<()> {
    create_dir(path, mode)?;
    let cannot = || format!("cannot use the directory {}", path.display());
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from);
    let dir = File::from(open().with_context(cannot)?);
    let facts = dir.metadata().with_context(cannot)?;
    ensure!(
        facts.uid() == Rights::now().user.as_raw(),
        "{} belongs to user {}, who could read and replace the keys in it: choose a directory of \
         your own",
        path.display(),
        facts.uid()
    );
    if facts.mode() & 0o7777 != mode {
        dir.set_permissions(Permissions::from_mode(mode)).with_context(cannot)?;
    }
    Ok(())
}

/// Larger than any credentials.
const MAX_SECRET_LEN: u64 = 16 * 1024;

/// Reads credentials, and returns their path. They are in the file that the configuration names,
/// which must be for its owner alone, or else under `name` in systemd's folder of credentials,
/// whose permissions are up to systemd. `None` if there are none.
pub fn read_secret(
    configured: Option<&Path>,
    systemd: Option<&Path>,
    name: &str,
) -> Result<Option<(PathBuf, String)>> {
    let given = systemd.map(|dir| dir.join(name)).filter(|path| as_caller(|| path.exists()));
    let Some(path) = configured.map(Path::to_path_buf).or(given) else { return Ok(None) };
    let cannot = || format!("cannot read {}", path.display());
    // The configuration may name any file, so that one is read with the rights of the state's
    // owner. The caller named the folder.
    let open = || open(&path);
    let file = if configured.is_some() { open() } else { as_caller(open) }.with_context(cannot)?;
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

/// Removes a file; a missing one is no error.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the addition or removal of a name durable.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(parent(path))?.sync_all()
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `iso make -o /dev/stdout` used to replace that link by an image.
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
