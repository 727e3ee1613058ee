//! The files of a volume. Containers write them at any time, so no name is followed through a
//! symbolic link, and nothing is where it was a moment ago. Touches the drive.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::AtFlags;
use rustix::fs::CWD;
use rustix::fs::Dir;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::Stat;
use rustix::io::Errno;

use super::key::Key;
use super::plan::Facts;
use super::plan::Files;
use crate::foreign::Foreign;

/// Most files of a volume, and its deepest directory.
const MOST: usize = 100_000;
const DEEPEST: usize = 64;

/// Permissions that an object keeps. No bucket makes a program of root's.
pub(super) const MODE: u32 = 0o777;

/// The directory of a volume's files, kept open: a drive that is gone is not an empty volume.
#[derive(Debug)]
pub(super) struct Tree(OwnedFd);

/// The files of a volume.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) files: Files,
    /// Paths that no object can hold, and the reasons.
    pub(super) skipped: BTreeMap<Foreign, &'static str>,
}

impl Tree {
    /// Opens the directory at `path`.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())?))
    }

    /// Looks at all files. Fails if anything cannot be read: what is not seen is not gone.
    pub(super) fn scan(&self) -> io::Result<Scan> {
        let mut scan = Scan::default();
        let device = rustix::fs::fstat(&self.0)?.st_dev;
        self.scan_below(self.0.as_fd(), "", DEEPEST, device, &mut scan)?;
        Ok(scan)
    }

    fn scan_below(
        &self,
        dir: impl AsFd,
        above: &str,
        depth: usize,
        device: u64,
        scan: &mut Scan,
    ) -> io::Result<()> {
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let facts = match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                facts => facts?,
            };
            let path = format!("{above}{}", name.to_string_lossy());
            let why = match FileType::from_raw_mode(facts.st_mode) {
                _ if facts.st_dev != device => "another file system",
                _ if name.to_str().is_err() => "its name is not UTF-8",
                FileType::Directory if depth == 0 => "too deep",
                FileType::Directory => match open_dir(&dir, name) {
                    // It was replaced meanwhile.
                    Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => continue,
                    below => {
                        let path = format!("{path}/");
                        self.scan_below(below?, &path, depth - 1, device, scan)?;
                        continue;
                    }
                },
                FileType::RegularFile => match Key::parse(&path) {
                    Ok(key) => {
                        if scan.files.len() >= MOST {
                            return Err(io::Error::other(format!("more than {MOST} files")));
                        }
                        scan.files.insert(key, of(&facts));
                        continue;
                    }
                    Err(_) => "its name cannot be that of an object",
                },
                FileType::Symlink => "a symbolic link",
                _ => "a special file",
            };
            scan.skipped.insert(Foreign::new(&path), why);
        }
        Ok(())
    }

    /// Opens a file for reading.
    pub(super) fn read(&self, key: &Key) -> io::Result<File> {
        let (above, name) = key.split();
        let dir = self.walk(above)?;
        // Without NONBLOCK, a pipe would be waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&dir, name, flags, Mode::empty())?);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::other("it is no file")),
        }
    }

    /// The facts of a file; `None` if there is none.
    pub(super) fn facts(&self, key: &Key) -> io::Result<Option<Facts>> {
        let (above, name) = key.split();
        let dir = match self.walk(above) {
            Err(error) if is_nothing(&error) => return Ok(None),
            dir => dir?,
        };
        match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(facts) if FileType::from_raw_mode(facts.st_mode) == FileType::RegularFile => {
                Ok(Some(of(&facts)))
            }
            Ok(_) | Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Moves a file of `from` to the place of `key`. What is in its way is moved into `aside`: of
    /// the file itself a second name, so that the place is never empty.
    pub(super) fn place(
        &self,
        key: &Key,
        from: (&OwnedFd, &str),
        aside: &mut Aside,
    ) -> io::Result<()> {
        let (above, name) = key.split();
        let dir = self.walk_making(above, aside)?;
        let there = match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(facts) => Some(FileType::from_raw_mode(facts.st_mode)),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(error.into()),
        };
        match there {
            None => {}
            Some(FileType::RegularFile) if aside.keeps_files => aside.link(&dir, name)?,
            Some(FileType::RegularFile) => {}
            Some(_) => aside.take(&dir, name)?,
        }
        Ok(rustix::fs::renameat(from.0, from.1, &dir, name)?)
    }

    /// Removes a file, and the directories above it that are empty then.
    pub(super) fn remove(&self, key: &Key) -> io::Result<()> {
        let (above, name) = key.split();
        let dir = match self.walk(above) {
            Err(error) if is_nothing(&error) => return Ok(()),
            dir => dir?,
        };
        match rustix::fs::unlinkat(&dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut keys: Vec<_> = key.above().collect();
        while let Some(key) = keys.pop() {
            let (above, name) = key.split();
            let removed = self
                .walk(above)
                .is_ok_and(|dir| rustix::fs::unlinkat(&dir, name, AtFlags::REMOVEDIR).is_ok());
            if !removed {
                break;
            }
        }
        Ok(())
    }

    /// Has everything on the drive that was written to its file system so far.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.0)?)
    }

    fn walk<'a>(&self, names: impl Iterator<Item = &'a str>) -> io::Result<OwnedFd> {
        let mut dir = self.0.try_clone()?;
        for name in names {
            dir = rustix::fs::openat(&dir, name, DIRECTORY, Mode::empty())?;
        }
        Ok(dir)
    }

    /// The same, and makes what is missing.
    fn walk_making<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
        aside: &mut Aside,
    ) -> io::Result<OwnedFd> {
        let mut dir = self.0.try_clone()?;
        for name in names {
            let open = |dir: &OwnedFd| rustix::fs::openat(dir, name, DIRECTORY, Mode::empty());
            let mut next = open(&dir);
            if matches!(next, Err(Errno::NOTDIR | Errno::LOOP)) {
                aside.take(&dir, name)?;
                next = Err(Errno::NOENT);
            }
            if matches!(next, Err(Errno::NOENT)) {
                rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o755))?;
                next = open(&dir);
            }
            dir = next?;
        }
        Ok(dir)
    }
}

/// A directory for what was in the way of the bucket's files.
#[derive(Debug)]
pub(super) struct Aside {
    dir: OwnedFd,
    stamp: String,
    /// True if a file that is replaced is kept, too.
    pub(super) keeps_files: bool,
    /// Names that were moved there.
    pub(super) taken: Vec<Foreign>,
}

impl Aside {
    /// The directory at `path`; `stamp` begins the names in it.
    pub(super) fn open(path: &Path, stamp: String) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let dir = rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())?;
        Ok(Self { dir, stamp, keeps_files: false, taken: Vec::new() })
    }

    fn name(&mut self, name: &str) -> String {
        self.taken.push(Foreign::new(name));
        let name: String =
            name.chars().rev().take(60).collect::<Vec<_>>().into_iter().rev().collect();
        format!("{}-{}-{name}", self.stamp, self.taken.len())
    }

    fn take(&mut self, from: &OwnedFd, name: &str) -> io::Result<()> {
        let new = self.name(name);
        Ok(rustix::fs::renameat(from, name, &self.dir, &*new)?)
    }

    fn link(&mut self, from: &OwnedFd, name: &str) -> io::Result<()> {
        let new = self.name(name);
        match rustix::fs::linkat(from, name, &self.dir, &*new, AtFlags::empty()) {
            Err(Errno::EXIST) => Ok(()),
            linked => Ok(linked?),
        }
    }
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn open_dir(dir: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, name, DIRECTORY, Mode::empty())
}

fn is_nothing(error: &io::Error) -> bool {
    let nothing = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP];
    error.raw_os_error().is_some_and(|code| nothing.iter().any(|no| no.raw_os_error() == code))
}

/// The facts of an open file.
pub(super) fn facts_of(file: &File) -> io::Result<Facts> {
    Ok(of(&rustix::fs::fstat(file)?))
}

fn of(facts: &Stat) -> Facts {
    Facts {
        inode: facts.st_ino,
        size: facts.st_size.unsigned_abs(),
        written: (facts.st_mtime, u32::try_from(facts.st_mtime_nsec).unwrap_or_default()),
        mode: facts.st_mode & MODE,
        owner: (facts.st_uid, facts.st_gid),
    }
}
