//! Makes the files of a layer.
//!
//! Parent directories are resolved by the kernel with the layer's directory as the root, so that
//! neither `..` nor a link leads out of it. The last component of a name is created anew, without
//! following what is there.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Gid;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::ResolveFlags;
use rustix::fs::Uid;
use rustix::fs::fchmod;
use rustix::fs::fchown;
use rustix::fs::ftruncate;
use rustix::fs::futimens;
use rustix::fs::linkat;
use rustix::fs::makedev;
use rustix::fs::mkdirat;
use rustix::fs::mknodat;
use rustix::fs::openat;
use rustix::fs::statat;
use rustix::fs::symlinkat;
use rustix::fs::unlinkat;
use rustix::fs::utimensat;
use rustix::io::Errno;

use super::super::remove::remove_at;
use super::super::steps::Steps;
use super::Content;
use super::Flaw;
use super::Unpacked;
use super::archive::Entry;
use super::archive::Kind;
use super::calls::There;
use super::calls::look;
use super::calls::open_directory;
use super::calls::resolve;
use super::calls::set_opaque;
use super::calls::write_at;
use super::describe::describe;
use super::describe::describe_at;
use super::describe::timestamps;
use super::failed;
use super::name;
use super::name::Place;
use super::name::Target;
use super::pax::Time;

/// Mode of directories that an archive has something in, but does not describe.
const IMPLICIT: Mode = Mode::from_bits_retain(0o755);

/// Bytes that are read, looked at and written at a time. Where all are 0, a hole is left.
const CHUNK: usize = 64 * 1024;

/// Bytes of names whose times are kept until the end.
const MAX_DEFERRED: usize = 64 << 20;

/// The layer's directory.
pub(super) struct Tree<'a> {
    root: BorrowedFd<'a>,
    steps: &'a dyn Steps,
    /// The last parent directory: most entries have that of the one before.
    last: Option<(Vec<u8>, OwnedFd)>,
    /// True if the entry took the place of something, maybe of a link in the parent's path.
    replaced: bool,
    /// Directories whose time is set at the end, when nothing is made in them any more.
    times: Vec<(Vec<u8>, Time)>,
    deferred: usize,
    implicit: BTreeSet<Vec<u8>>,
    root_described: bool,
    root_opaque: bool,
    buffer: Vec<u8>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(root: BorrowedFd<'a>, steps: &'a dyn Steps) -> Result<Self, Flaw> {
        fchmod(root, IMPLICIT).map_err(|error| Flaw::drive("change", error))?;
        Ok(Self {
            root,
            steps,
            last: None,
            replaced: false,
            times: Vec::new(),
            deferred: 0,
            implicit: BTreeSet::new(),
            root_described: false,
            root_opaque: false,
            buffer: vec![0; CHUNK],
        })
    }

    /// Makes what an entry describes.
    pub(super) fn add<R: Read>(
        &mut self,
        entry: &Entry,
        content: &mut Content<'_, '_, R>,
    ) -> Result<(), Flaw> {
        let place = Place::parse(&entry.name).map_err(|why| Flaw::entry(&entry.name, why))?;
        self.steps.before("unpack an entry").map_err(|error| Flaw::drive("unpack", error))?;
        self.replaced = false;
        let name = match place.target {
            Target::Nothing => return Ok(()),
            Target::Root => return self.describe_root(entry),
            Target::Opaque => return self.make_opaque(entry, &place),
            Target::Whiteout(name) => return self.whiteout(entry, &place, name),
            Target::Named(name) => name,
        };
        let parent = self.parent(entry, &place.parents)?;
        let result = match entry.kind {
            Kind::File => self.file(entry, parent.as_fd(), name, content),
            Kind::Directory => self.directory(entry, &place, parent.as_fd(), name),
            Kind::Symlink => self.symlink(entry, parent.as_fd(), name),
            Kind::HardLink => self.hard_link(entry, parent.as_fd(), name),
            Kind::Fifo => self.node(entry, parent.as_fd(), name, FileType::Fifo, (0, 0)),
            Kind::Character { major, minor } => {
                self.node(entry, parent.as_fd(), name, FileType::CharacterDevice, (major, minor))
            }
            Kind::Block { major, minor } => {
                self.node(entry, parent.as_fd(), name, FileType::BlockDevice, (major, minor))
            }
        };
        result?;
        if !self.replaced {
            self.last = Some((place.parents.join(&b'/'), parent));
        }
        Ok(())
    }

    /// Sets the times of directories.
    pub(super) fn finish(self) -> Result<Unpacked, Flaw> {
        for (path, time) in &self.times {
            // What has been replaced since has no such time.
            if let Ok(directory) = resolve(self.root, path, ResolveFlags::NO_SYMLINKS) {
                utimensat(&directory, ".", &timestamps(*time), AtFlags::empty())
                    .map_err(|error| Flaw::drive("set the time of", error))?;
            }
        }
        Ok(Unpacked {
            entries: 0,
            bytes: 0,
            root: self.root_described,
            opaque: self.root_opaque,
            implicit: self.implicit.into_iter().collect(),
        })
    }

    fn describe_root(&mut self, entry: &Entry) -> Result<(), Flaw> {
        if entry.kind != Kind::Directory {
            return Err(Flaw::entry(&entry.name, "it replaces the root of the image"));
        }
        self.root_described = true;
        describe(entry, self.root)?;
        self.defer(Vec::new(), entry.modified)
    }

    fn make_opaque(&mut self, entry: &Entry, place: &Place<'_>) -> Result<(), Flaw> {
        if place.parents.is_empty() {
            self.root_opaque = true;
            return Ok(());
        }
        let directory = self.parent(entry, &place.parents)?;
        let directory = open_directory(directory.as_fd(), b".")
            .map_err(|error| failed(entry, "open", error))?;
        set_opaque(directory.as_fd())
    }

    /// The layers below lose what they have of this name; this layer keeps what it has of it.
    fn whiteout(&mut self, entry: &Entry, place: &Place<'_>, name: &[u8]) -> Result<(), Flaw> {
        let parent = self.parent(entry, &place.parents)?;
        match mknodat(&parent, name, FileType::CharacterDevice, Mode::empty(), makedev(0, 0)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let stat = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|error| failed(entry, "look at", error))?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    let directory = open_directory(parent.as_fd(), name)
                        .map_err(|error| failed(entry, "open", error))?;
                    set_opaque(directory.as_fd())?;
                }
            }
            Err(error) => return Err(failed(entry, "create", error)),
        }
        self.last = Some((place.parents.join(&b'/'), parent));
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        entry: &Entry,
        parent: BorrowedFd<'_>,
        name: &[u8],
        content: &mut Content<'_, '_, R>,
    ) -> Result<(), Flaw> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let private = Mode::RUSR | Mode::WUSR;
        let file = self.fresh(entry, parent, name, || openat(parent, name, flags, private))?;
        let mut end = 0;
        for (offset, length) in &entry.map.parts {
            let (mut offset, mut left) = (*offset, *length);
            while left > 0 {
                let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
                let read = content.read(&mut self.buffer[..most])?;
                let chunk = &self.buffer[..read];
                if chunk.iter().any(|byte| *byte != 0) {
                    self.steps.before("write a file").map_err(|e| Flaw::drive("write", e))?;
                    write_at(file.as_fd(), chunk, offset).map_err(|e| failed(entry, "write", e))?;
                    end = offset + read as u64;
                }
                offset += read as u64;
                left -= read as u64;
            }
        }
        if end < entry.map.size {
            ftruncate(&file, entry.map.size).map_err(|error| failed(entry, "write", error))?;
        }
        describe(entry, file.as_fd())?;
        futimens(&file, &timestamps(entry.modified))
            .map_err(|e| failed(entry, "set the time of", e))
    }

    fn directory(
        &mut self,
        entry: &Entry,
        place: &Place<'_>,
        parent: BorrowedFd<'_>,
        name: &[u8],
    ) -> Result<(), Flaw> {
        let mut opaque = false;
        match mkdirat(parent, name, IMPLICIT) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let there = look(parent, name).map_err(|error| failed(entry, "look at", error))?;
                if there != There::Directory {
                    // In the layers below there may be a directory.
                    opaque = there == There::Whiteout;
                    self.fresh(entry, parent, name, || mkdirat(parent, name, IMPLICIT))?;
                }
            }
            Err(error) => return Err(failed(entry, "create", error)),
        }
        let directory =
            open_directory(parent, name).map_err(|error| failed(entry, "open", error))?;
        if opaque {
            set_opaque(directory.as_fd())?;
        }
        describe(entry, directory.as_fd())?;
        let path = [&place.parents[..], &[name]].concat().join(&b'/');
        self.implicit.remove(&path);
        self.defer(path, entry.modified)
    }

    fn symlink(&mut self, entry: &Entry, parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Flaw> {
        self.fresh(entry, parent, name, || symlinkat(&entry.link[..], parent, name))?;
        describe_at(entry, parent, name, false)
    }

    fn node(
        &mut self,
        entry: &Entry,
        parent: BorrowedFd<'_>,
        name: &[u8],
        kind: FileType,
        (major, minor): (u32, u32),
    ) -> Result<(), Flaw> {
        let (mode, device) = (Mode::empty(), makedev(major, minor));
        self.fresh(entry, parent, name, || mknodat(parent, name, kind, mode, device))?;
        describe_at(entry, parent, name, true)
    }

    /// A second name for a file of this layer.
    fn hard_link(
        &mut self,
        entry: &Entry,
        parent: BorrowedFd<'_>,
        name: &[u8],
    ) -> Result<(), Flaw> {
        let components = name::components(&entry.link);
        let mut components = components
            .map_err(|why| Flaw::entry(&entry.name, &format!("the file it links to: {why}")))?;
        let missing =
            || Flaw::entry(&entry.name, "it links to a file that the layer does not have");
        let target = components.pop().ok_or_else(missing)?;
        let from = match resolve(self.root, &components.join(&b'/'), ResolveFlags::empty()) {
            Ok(from) => from,
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(missing()),
            Err(error) => return Err(failed(entry, "open", error)),
        };
        let stat = match statat(&from, target, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Err(missing()),
            Err(error) => return Err(failed(entry, "look at", error)),
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Err(Flaw::entry(&entry.name, "it links to a directory"));
        }
        if let Ok(own) = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            && (own.st_dev, own.st_ino) == (stat.st_dev, stat.st_ino)
        {
            return Ok(());
        }
        let link = || linkat(&from, target, parent, name, AtFlags::empty());
        match self.fresh(entry, parent, name, link) {
            // What was replaced held the target.
            Err(_) if statat(&from, target, AtFlags::SYMLINK_NOFOLLOW).is_err() => Err(missing()),
            result => result,
        }
    }

    /// Creates something by `create`, in place of what the layer has of that name.
    fn fresh<T>(
        &mut self,
        entry: &Entry,
        parent: BorrowedFd<'_>,
        name: &[u8],
        create: impl Fn() -> Result<T, Errno>,
    ) -> Result<T, Flaw> {
        match create() {
            Err(Errno::EXIST) => {}
            result => return result.map_err(|error| failed(entry, "create", error)),
        }
        match unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::ISDIR) => {
                remove_at(parent, name, self.steps)
                    .map_err(|error| Flaw::drive("remove", error))?;
            }
            Err(error) => return Err(failed(entry, "remove", error)),
        }
        self.replaced = true;
        create().map_err(|error| failed(entry, "create", error))
    }

    /// The directory that an entry is made in.
    fn parent(&mut self, entry: &Entry, parents: &[&[u8]]) -> Result<OwnedFd, Flaw> {
        let path = parents.join(&b'/');
        if let Some((last, directory)) = self.last.take()
            && last == path
        {
            return Ok(directory);
        }
        match resolve(self.root, &path, ResolveFlags::empty()) {
            Ok(directory) => Ok(directory),
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_parents(entry, parents),
            Err(error) => Err(failed(entry, "open", error)),
        }
    }

    /// Makes the directories that the archive does not describe, or describes later.
    fn make_parents(&mut self, entry: &Entry, parents: &[&[u8]]) -> Result<OwnedFd, Flaw> {
        let mut directory =
            resolve(self.root, b"", ResolveFlags::empty()).map_err(|e| failed(entry, "open", e))?;
        for depth in 1..=parents.len() {
            let path = parents[..depth].join(&b'/');
            let name = parents[depth - 1];
            let opaque = match resolve(self.root, &path, ResolveFlags::empty()) {
                Ok(found) => {
                    directory = found;
                    continue;
                }
                Err(Errno::NOENT) => false,
                Err(Errno::NOTDIR) if look(directory.as_fd(), name) == Ok(There::Whiteout) => {
                    unlinkat(&directory, name, AtFlags::empty())
                        .map_err(|error| failed(entry, "remove", error))?;
                    true
                }
                Err(error) => return Err(failed(entry, "open", error)),
            };
            match mkdirat(&directory, name, IMPLICIT) {
                Ok(()) => {}
                Err(Errno::EXIST) => {
                    return Err(Flaw::entry(&entry.name, "it is behind a link that leads nowhere"));
                }
                Err(error) => return Err(failed(entry, "create", error)),
            }
            let made =
                open_directory(directory.as_fd(), name).map_err(|e| failed(entry, "open", e))?;
            fchmod(&made, IMPLICIT).map_err(|error| failed(entry, "change", error))?;
            // A directory below a setgid one has its group.
            fchown(&made, Some(Uid::ROOT), Some(Gid::ROOT))
                .map_err(|error| failed(entry, "change", error))?;
            if opaque {
                set_opaque(made.as_fd())?;
            }
            // Behind a link it has another path, and keeps its mode.
            if resolve(self.root, &path, ResolveFlags::NO_SYMLINKS).is_ok() {
                self.count(path.len())?;
                self.implicit.insert(path);
            }
            directory = made;
        }
        Ok(directory)
    }

    fn defer(&mut self, path: Vec<u8>, time: Time) -> Result<(), Flaw> {
        self.count(path.len())?;
        self.times.push((path, time));
        Ok(())
    }

    fn count(&mut self, bytes: usize) -> Result<(), Flaw> {
        self.deferred += bytes + size_of::<(Vec<u8>, Time)>();
        if self.deferred > MAX_DEFERRED {
            return Err(Flaw::Bad("it has too many directories".to_owned()));
        }
        Ok(())
    }
}
