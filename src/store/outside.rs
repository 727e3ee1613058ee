//! Files that a command makes outside of the state, for example of a generation that is read back.
//! Their paths come from the store, so they are not trusted: no path leads out of the directory,
//! and no symbolic link is followed. Touches the disk, with the caller's rights.

use std::fs::File;
use std::fs::Permissions;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use rustix::fs::AtFlags;
use rustix::fs::CWD;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::RenameFlags;
use rustix::io::Errno;

use super::owner::as_caller;

/// Longest part of a path that file systems take, with space for [`beside`].
const LONGEST_NAME: usize = 200;

/// The treatment of a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and writing fails.
    Refuse,
    /// It is replaced, also if it is a symbolic link.
    Replace,
}

/// A directory outside of the state. It is held open, so that nobody can put another one in its
/// place.
#[derive(Debug)]
pub struct Outside {
    dir: OwnedFd,
}

impl Outside {
    /// Opens the directory `path`. The caller named it, so links in it are followed.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = as_caller(|| rustix::fs::open(path, flags, Mode::empty()))
            .with_context(|| format!("cannot open the directory {}", path.display()))?;
        Ok(Self { dir })
    }

    /// Opens the directory `path`, and makes it first if it is missing.
    pub fn open_or_make(path: &Path, mode: u32) -> Result<Self> {
        match as_caller(|| rustix::fs::mkdir(path, Mode::from_raw_mode(mode))) {
            Err(error) if error != Errno::EXIST => {
                Err(error).with_context(|| format!("cannot make the directory {}", path.display()))
            }
            _ => Self::open(path),
        }
    }

    /// Says whether nothing is in it.
    pub fn is_empty(&self) -> io::Result<bool> {
        let mut entries = as_caller(|| rustix::fs::Dir::read_from(&self.dir))?;
        let others = entries.by_ref().filter(|entry| {
            entry.as_ref().is_ok_and(|entry| !matches!(entry.file_name().to_bytes(), b"." | b".."))
        });
        Ok(others.count() == 0)
    }

    /// Writes the file at `path`, with `/` between its parts, and makes missing directories on the
    /// way. The file has its name once `fill` has returned and all bytes are on the disk; if that
    /// fails, nothing is left.
    pub fn write(
        &self,
        path: &str,
        mode: u32,
        existing: Existing,
        fill: impl FnOnce(&mut File) -> Result<()>,
    ) -> Result<()> {
        let mut parts: Vec<_> = path.split('/').collect();
        ensure!(parts.iter().all(|part| is_plain(part)), "{path:?} is no path for a file");
        // The last part is always there: splitting yields at least one.
        let name = parts.pop().unwrap_or_default();
        let cannot = || format!("cannot make {path}");
        let folder = as_caller(|| self.folder(&parts)).with_context(cannot)?;
        let mut file = as_caller(|| Unfinished::new(&folder)).with_context(cannot)?;
        fill(&mut file.file)?;
        let finish = || -> io::Result<()> {
            file.file.set_permissions(Permissions::from_mode(mode))?;
            file.file.sync_all()?;
            file.finish(&folder, name, existing)
        };
        as_caller(finish).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                anyhow::anyhow!("{path} is there already; `--force` replaces it")
            }
            _ => anyhow::Error::new(error).context(cannot()),
        })
    }

    fn folder(&self, parts: &[&str]) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut at = self.dir.try_clone()?;
        for part in parts {
            match rustix::fs::mkdirat(&at, *part, Mode::from_raw_mode(0o755)) {
                Err(error) if error != Errno::EXIST => return Err(error.into()),
                _ => {}
            }
            at = rustix::fs::openat(&at, *part, flags, Mode::empty()).map_err(
                |error| match error {
                    Errno::LOOP | Errno::NOTDIR => {
                        io::Error::other(format!("{part} on the way is no directory"))
                    }
                    error => error.into(),
                },
            )?;
        }
        Ok(at)
    }
}

/// Says whether a part of a path names something in its own directory.
pub fn is_plain(part: &str) -> bool {
    !matches!(part, "" | "." | "..")
        && part.len() <= LONGEST_NAME
        && !part.contains(|c: char| c == '/' || c.is_control())
}

/// A file that nobody finds by its name yet.
struct Unfinished {
    file: File,
    /// Its name on file systems without unnamed files.
    named: Option<(OwnedFd, String)>,
}

impl Unfinished {
    fn new(folder: &OwnedFd) -> io::Result<Self> {
        let mode = Mode::from_raw_mode(0o600);
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::openat(folder, ".", flags | OFlags::TMPFILE, mode) {
            Ok(file) => return Ok(Self { file: file.into(), named: None }),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
        let name = beside()?;
        let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(folder, &*name, flags, mode)?;
        Ok(Self { file: file.into(), named: Some((folder.try_clone()?, name)) })
    }

    fn finish(mut self, folder: &OwnedFd, name: &str, existing: Existing) -> io::Result<()> {
        if self.named.is_none() {
            let descriptor = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            let link = |name: &str| {
                rustix::fs::linkat(CWD, &*descriptor, folder, name, AtFlags::SYMLINK_FOLLOW)
            };
            match link(name) {
                Err(Errno::EXIST) if existing == Existing::Replace => {}
                linked => {
                    linked?;
                    return Ok(rustix::fs::fsync(folder)?);
                }
            }
            let beside = beside()?;
            link(&beside)?;
            self.named = Some((folder.try_clone()?, beside));
        }
        if let Some((_, beside)) = &self.named {
            let flags = match existing {
                Existing::Refuse => RenameFlags::NOREPLACE,
                Existing::Replace => RenameFlags::empty(),
            };
            rustix::fs::renameat_with(folder, &**beside, folder, name, flags)?;
            self.named = None;
        }
        Ok(rustix::fs::fsync(folder)?)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some((folder, name)) = &self.named {
            // It has another name, or the command fails anyway.
            let _ = as_caller(|| rustix::fs::unlinkat(folder, &**name, AtFlags::empty()));
        }
    }
}

/// A name that no file of a generation has.
fn beside() -> io::Result<String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(format!(".farmgate-{}", hex::encode(random)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use super::*;

    fn put(outside: &Outside, path: &str, existing: Existing, text: &[u8]) -> Result<()> {
        outside.write(path, 0o640, existing, |file| Ok(file.write_all(text)?))
    }

    #[test]
    fn files_are_made_and_replaced_only_when_told() {
        let dir = tempfile::tempdir().unwrap();
        let outside = Outside::open_or_make(&dir.path().join("new"), 0o755).unwrap();
        assert!(outside.is_empty().unwrap());
        put(&outside, "a/b/c", Existing::Refuse, b"one").unwrap();
        let path = dir.path().join("new/a/b/c");
        let error = put(&outside, "a/b/c", Existing::Refuse, b"two").unwrap_err();
        assert!(format!("{error:#}").contains("there already"), "{error:#}");
        assert_eq!(fs::read(&path).unwrap(), b"one");
        put(&outside, "a/b/c", Existing::Replace, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        let failed = outside.write("a/b/d", 0o640, Existing::Refuse, |_| anyhow::bail!("broken"));
        assert!(failed.is_err() && !outside.is_empty().unwrap());
        assert_eq!(fs::read_dir(dir.path().join("new/a/b")).unwrap().count(), 1);
    }

    #[test]
    fn no_link_and_no_path_leads_out() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(other.path(), dir.path().join("link")).unwrap();
        symlink(other.path().join("file"), dir.path().join("file")).unwrap();
        let outside = Outside::open(dir.path()).unwrap();
        for path in ["link/x", "../x", "/x", "a//b", "a/./b", "", "a/", "a\n"] {
            assert!(put(&outside, path, Existing::Replace, b"x").is_err(), "{path:?}");
        }
        assert!(put(&outside, "file", Existing::Refuse, b"x").is_err());
        // The link itself is replaced, and not what it leads to.
        put(&outside, "file", Existing::Replace, b"x").unwrap();
        assert!(!dir.path().join("file").is_symlink());
        assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0);
    }
}
