//! Copies, compares and removes the files of a directory. Touches the disk, with the rights of the
//! caller.
//!
//! Root uses its own rights here, not those of the state's owner, who cannot read all of `pki/`. That
//! gives the owner nothing: directories are used through their handles, no link is followed, and a
//! copy belongs to the owner of the file that was opened.

use std::ffi::CStr;
use std::ffi::CString;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::fchown;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use rustix::fs::Advice;
use rustix::fs::AtFlags;
use rustix::fs::Dir;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::Timespec;
use rustix::fs::Timestamps;
use sha2::Digest;
use sha2::Sha256;

/// Deeper than any folder of a state, and than git's own.
const DEEPEST: usize = 64;

const BUFFER: usize = 256 * 1024;

/// Room that a file system takes for the last block of a file, and for its name.
const PER_FILE: u64 = 4096;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// A file of the copy, and the SHA-256 of what was copied.
pub(super) struct Written {
    path: PathBuf,
    digest: [u8; 32],
}

struct Entry {
    name: CString,
    kind: FileType,
    size: u64,
}

fn entries(dir: &File) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let facts = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(facts.st_mode);
        let size = u64::try_from(facts.st_size).unwrap_or(0);
        found.push(Entry { name: name.to_owned(), kind, size });
    }
    Ok(found)
}

fn open(dir: &File, name: &CStr, more: OFlags) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | more;
    Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?.into())
}

fn path_of(name: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(name.to_bytes()))
}

/// Names of the entries of a directory.
pub(super) fn names(dir: &File) -> io::Result<Vec<OsString>> {
    let found = entries(dir)?.into_iter();
    Ok(found.map(|entry| path_of(&entry.name).as_os_str().to_owned()).collect())
}

/// The number and length of all regular files.
pub(super) fn size(dir: &File) -> Result<Size> {
    let mut size = Size::default();
    add_size(dir, &mut size, 0).context("cannot read the state")?;
    Ok(size)
}

fn add_size(dir: &File, size: &mut Size, depth: usize) -> io::Result<()> {
    for entry in entries(dir)? {
        if entry.kind == FileType::Directory && depth < DEEPEST {
            add_size(&open(dir, &entry.name, OFlags::DIRECTORY)?, size, depth + 1)?;
        } else if entry.kind == FileType::RegularFile {
            size.files += 1;
            size.bytes += entry.size;
        }
    }
    Ok(())
}

/// Fails if the file system of `to` has too little room for a copy of `from`.
pub(super) fn ensure_room(from: &File, to: &File, shown: &Path) -> Result<Size> {
    let size = size(from)?;
    let free = rustix::fs::fstatvfs(to).context("cannot ask for free space")?;
    let (needed, free) = (size.bytes + size.files * PER_FILE, free.f_bavail * free.f_frsize);
    ensure!(needed <= free, "it needs {needed} bytes, and {free} are free for {}", shown.display());
    Ok(size)
}

/// Copies everything in `from` but the top entries `without` to `to`, with owners, permissions and
/// times. Nothing is durable yet.
pub(super) fn copy(
    from: &File,
    to: &File,
    without: &[&str],
    read: &mut dyn FnMut(u64),
) -> Result<Vec<Written>> {
    let mut copy = Copy { written: Vec::new(), buffer: vec![0; BUFFER], read };
    copy.folder((from, to), without, Path::new(""), 0)?;
    Ok(copy.written)
}

struct Copy<'a> {
    written: Vec<Written>,
    buffer: Vec<u8>,
    read: &'a mut dyn FnMut(u64),
}

impl Copy<'_> {
    fn folder(
        &mut self,
        (from, to): (&File, &File),
        without: &[&str],
        path: &Path,
        depth: usize,
    ) -> Result<()> {
        for Entry { name, kind, .. } in
            entries(from).with_context(|| format!("cannot read {}", path.display()))?
        {
            if name.to_str().is_ok_and(|name| without.contains(&name)) {
                continue;
            }
            let path = path.join(path_of(&name));
            let copied = match kind {
                FileType::Directory => {
                    ensure!(depth < DEEPEST, "{} is too deep", path.display());
                    let open = || -> io::Result<(File, File)> {
                        rustix::fs::mkdirat(to, &name, Mode::RWXU)?;
                        let directory = |dir| open(dir, &name, OFlags::DIRECTORY);
                        Ok((directory(from)?, directory(to)?))
                    };
                    let (from, to) =
                        open().with_context(|| format!("cannot copy {}", path.display()))?;
                    self.folder((&from, &to), &[], &path, depth + 1)?;
                    like(&to, &from.metadata()?)
                }
                FileType::RegularFile => {
                    let (from, mut to) = pair(from, to, &name, &path)?;
                    let digest = self.bytes(from, &mut to, &path)?;
                    self.written.push(Written { path: path.clone(), digest });
                    Ok(())
                }
                FileType::Symlink => link(from, to, &name),
                // Whoever listened there is gone.
                FileType::Socket => Ok(()),
                _ => bail!("{} is neither a file nor a directory", path.display()),
            };
            copied.with_context(|| format!("cannot copy {}", path.display()))?;
        }
        Ok(())
    }

    fn bytes(&mut self, mut from: File, to: &mut File, path: &Path) -> Result<[u8; 32]> {
        let digest = digest(&mut from, &mut self.buffer, |bytes| {
            (self.read)(bytes.len() as u64);
            to.write_all(bytes)
        });
        let digest = digest.with_context(|| format!("cannot copy {}", path.display()))?;
        like(to, &from.metadata()?)
            .with_context(|| format!("cannot give {} its owner", path.display()))?;
        Ok(digest)
    }
}

fn pair(from: &File, to: &File, name: &CStr, path: &Path) -> Result<(File, File)> {
    let open = || -> io::Result<(File, File)> {
        let from = open(from, name, OFlags::empty())?;
        if !from.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file any more"));
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let to = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok((from, to.into()))
    };
    open().with_context(|| format!("cannot copy {}", path.display()))
}

/// Reads a file to its end, and hands on what it reads.
fn digest(
    file: &mut File,
    buffer: &mut [u8],
    mut also: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    loop {
        match file.read(buffer)? {
            0 => return Ok(hasher.finalize().into()),
            count => {
                hasher.update(&buffer[..count]);
                also(&buffer[..count])?;
            }
        }
    }
}

/// Gives a file or directory the owner and permissions of another.
pub(super) fn owned_like(copy: &File, facts: &fs::Metadata) -> io::Result<()> {
    let own = copy.metadata()?;
    if (own.uid(), own.gid()) != (facts.uid(), facts.gid()) {
        fchown(copy, Some(facts.uid()), Some(facts.gid()))?;
    }
    copy.set_permissions(fs::Permissions::from_mode(facts.mode() & 0o777))
}

/// Gives a copy the owner, permissions and times of the original.
fn like(copy: &File, facts: &fs::Metadata) -> io::Result<()> {
    owned_like(copy, facts)?;
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec: tv_nsec as _ };
    Ok(rustix::fs::futimens(
        copy,
        &Timestamps {
            last_access: time(facts.atime(), facts.atime_nsec()),
            last_modification: time(facts.mtime(), facts.mtime_nsec()),
        },
    )?)
}

fn link(from: &File, to: &File, name: &CStr) -> io::Result<()> {
    let facts = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let target = rustix::fs::readlinkat(from, name, Vec::new())?;
    rustix::fs::symlinkat(target.as_c_str(), to, name)?;
    let own = rustix::fs::statat(to, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if (own.st_uid, own.st_gid) != (facts.st_uid, facts.st_gid) {
        let (user, group) = (facts.st_uid, facts.st_gid);
        let path = format!("/proc/self/fd/{}", to.as_raw_fd());
        std::os::unix::fs::lchown(Path::new(&path).join(path_of(name)), Some(user), Some(group))?;
    }
    Ok(())
}

/// Fails if a file of the copy in `dir` does not have the bytes that were written. They come from the
/// disk, where the kernel lets go of what it has in memory.
pub(super) fn compare(dir: &File, written: &[Written], read: &mut dyn FnMut(u64)) -> Result<()> {
    let mut buffer = vec![0; BUFFER];
    for Written { path, digest: expected } in written {
        let mut compare = || -> io::Result<bool> {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file: File = rustix::fs::openat(dir, path, flags, Mode::empty())?.into();
            let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
            let found = digest(&mut file, &mut buffer, |bytes| {
                read(bytes.len() as u64);
                Ok(())
            })?;
            Ok(found == *expected)
        };
        let same =
            compare().with_context(|| format!("cannot read the copy of {}", path.display()))?;
        ensure!(
            same,
            "the copy of {} differs from what was written: is the disk good?",
            path.display()
        );
    }
    Ok(())
}

/// Removes everything in `dir` but the top entries `keep`.
pub(super) fn clear(dir: &File, keep: &[&str]) -> Result<()> {
    // Through the handle: the name of the directory may lead elsewhere by now.
    let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    for entry in entries(dir).context("cannot read the directory")? {
        if entry.name.to_str().is_ok_and(|name| keep.contains(&name)) {
            continue;
        }
        let name = path_of(&entry.name);
        // Follows no link.
        let removed = match entry.kind {
            FileType::Directory => fs::remove_dir_all(path.join(name)),
            _ => fs::remove_file(path.join(name)),
        };
        removed.with_context(|| format!("cannot remove {}", name.display()))?;
    }
    dir.sync_all().context("cannot write")
}
