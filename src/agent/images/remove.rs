//! Removes directories with everything in them, however deep they are: a container can nest
//! directories deeper than a path is long, or than a process can open.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use rustix::fs::AtFlags;
use rustix::fs::Dir;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::openat;
use rustix::fs::renameat;
use rustix::fs::unlinkat;
use rustix::io::Errno;

use super::steps::Steps;

/// Directories that are open at a time. What is deeper is moved up first.
const MAX_DEPTH: usize = 32;

/// Removes `name` of `parent`, whatever it is; a missing one is no error.
pub(super) fn remove_at(parent: BorrowedFd<'_>, name: &[u8], steps: &dyn Steps) -> io::Result<()> {
    steps.before("remove")?;
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(error.into()),
    }
    let top = open(parent, name)?;
    let mut removal = Removal { top: top.as_fd(), steps, moved: 0, waiting: VecDeque::new() };
    removal.empty(top.as_fd(), 0, true)?;
    while let Some(name) = removal.waiting.pop_front() {
        let directory = open(top.as_fd(), name.as_bytes())?;
        removal.empty(directory.as_fd(), 0, false)?;
        unlinkat(&top, &name, AtFlags::REMOVEDIR)?;
    }
    Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

struct Removal<'a> {
    top: BorrowedFd<'a>,
    steps: &'a dyn Steps,
    moved: u64,
    /// Directories of `top` that are emptied later.
    waiting: VecDeque<CString>,
}

impl Removal<'_> {
    fn empty(&mut self, directory: BorrowedFd<'_>, depth: usize, top: bool) -> io::Result<()> {
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") || (top && self.is_waiting(name)) {
                continue;
            }
            self.steps.before("remove")?;
            let is_directory = match entry.file_type() {
                FileType::Directory => true,
                _ => match unlinkat(directory, name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => false,
                    Err(Errno::ISDIR) => true,
                    Err(error) => return Err(error.into()),
                },
            };
            if !is_directory {
                continue;
            }
            if depth >= MAX_DEPTH {
                self.move_up(directory, name)?;
                continue;
            }
            let inner = open(directory, name.to_bytes())?;
            self.empty(inner.as_fd(), depth + 1, false)?;
            drop(inner);
            unlinkat(directory, name, AtFlags::REMOVEDIR)?;
        }
        Ok(())
    }

    fn is_waiting(&self, name: &CStr) -> bool {
        self.waiting.iter().any(|waiting| waiting.as_c_str() == name)
    }

    fn move_up(&mut self, directory: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        loop {
            self.moved += 1;
            let free = CString::new(format!(".removed-{}", self.moved))?;
            // Renaming onto another directory fails unless that is empty, and then removes it.
            match renameat(directory, name, self.top, &free) {
                Ok(()) => {
                    self.waiting.push_back(free);
                    return Ok(());
                }
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn open(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::CWD;
    use rustix::fs::mkdirat;

    use super::super::steps::Live;
    use super::*;

    fn remove(path: &std::path::Path) -> io::Result<()> {
        use std::os::unix::ffi::OsStrExt;
        remove_at(CWD, path.as_os_str().as_bytes(), &Live)
    }

    #[test]
    fn what_a_link_points_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (gone, kept) = (dir.path().join("gone"), dir.path().join("kept"));
        fs::create_dir_all(gone.join("a/b")).unwrap();
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "text").unwrap();
        symlink(&kept, gone.join("a/link")).unwrap();
        remove(&gone).unwrap();
        remove(&gone).unwrap();
        assert!(!gone.exists());
        assert_eq!(fs::read_to_string(kept.join("file")).unwrap(), "text");
        symlink(&kept, &gone).unwrap();
        remove(&gone).unwrap();
        assert!(kept.join("file").exists() && gone.symlink_metadata().is_err());
    }

    /// Deeper than a path is long, and than a process can open files.
    #[test]
    fn the_deepest_tree_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        fs::create_dir(&top).unwrap();
        let mut directory = open(CWD, top.as_os_str().as_encoded_bytes()).unwrap();
        for _ in 0..5000 {
            mkdirat(&directory, "d", Mode::RWXU).unwrap();
            mkdirat(&directory, ".removed-3", Mode::RWXU).unwrap();
            directory = open(directory.as_fd(), b"d").unwrap();
        }
        drop(directory);
        remove(&top).unwrap();
        assert!(!top.exists());
    }
}
