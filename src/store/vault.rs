//! `pki/` and `cache/`: owned by root alone, if root made the state for the server's user.
//!
//! Their files decide what media trust, and root trusts them. The directory above belongs to the
//! server's user, who could replace them. So each is opened once, must belong to root, and is used
//! through that handle.

use std::fs::File;
use std::fs::Permissions;
use std::io;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::fchown;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::files;
use super::layout;
use super::layout::CA;
use super::layout::CA_KEY;
use super::layout::CACHE;
use super::layout::PKI;
use super::layout::PRIVATE_DIR;
use super::layout::SERVER_KEY;
use super::owner;
use super::owner::Rights;
use super::owner::as_caller;
use crate::identity::pki::Authority;

/// Mode of root's `pki/`: the server reads the public files, whose names it knows.
const PKI_MODE: u32 = layout::PASSABLE;

/// A directory of the state, with the handle through which it is used if only root owns it.
#[derive(Debug)]
pub(super) struct Vault {
    shown: PathBuf,
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    dir: File,
    /// The owner of the state.
    owner: Rights,
}

impl Held {
    /// A path through the handle, which survives a rename of the directory.
    fn at(&self, name: &str) -> PathBuf {
        format!("/proc/{}/fd/{}/{name}", std::process::id(), self.dir.as_raw_fd()).into()
    }

    fn is_roots(&self) -> io::Result<bool> {
        let facts = self.dir.metadata()?;
        Ok(facts.uid() == 0 && facts.mode() & 0o022 == 0)
    }

    /// From now on nobody else can change its files.
    fn become_roots(&self, mode: u32) -> io::Result<()> {
        fchown(&self.dir, Some(0), Some(0))?;
        self.dir.set_permissions(Permissions::from_mode(mode))
    }

    /// Says whether the state's owner, who runs the server, can open its files by name.
    fn is_passable(&self) -> io::Result<bool> {
        let facts = self.dir.metadata()?;
        let bit = if facts.gid() == self.owner.group.as_raw() { 0o010 } else { 0o001 };
        Ok(facts.mode() & bit != 0)
    }

    fn give_back(&self) -> io::Result<()> {
        self.dir.set_permissions(Permissions::from_mode(PRIVATE_DIR))?;
        fchown(&self.dir, Some(self.owner.user.as_raw()), Some(self.owner.group.as_raw()))
    }

    /// Opens a regular file in it without following a link.
    fn open(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&self.dir, name, flags, Mode::empty())?);
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::other("it is not a regular file"))
        }
    }

    fn write(
        &self,
        name: &str,
        mode: u32,
        write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let owner = if name == SERVER_KEY { self.owner } else { Rights::ROOT };
        files::replace_io(&self.at(name), mode, Some(owner), write)
    }
}

impl Vault {
    /// `pki/` of the state in `dir`. If root made it and an earlier farmgate gave it to the state's
    /// owner, it goes back to root.
    pub(super) fn pki(dir: &Path) -> Result<Self> {
        let (shown, owner) = (dir.join(PKI), Rights::now());
        let hold = || -> Result<Option<Held>> {
            let Some(held) = hold(dir, owner, PKI)? else { return Ok(None) };
            let known = held.is_roots()? || has_roots_key(&held)?;
            if known {
                take_over(&held)?;
            }
            Ok(known.then_some(held))
        };
        let held = if owner::is_for_another() { as_caller_in(dir, hold)? } else { None };
        Ok(Self { shown, held })
    }

    /// `cache/` of the state in `dir`. Files that another user could have put there are deleted.
    pub(super) fn cache(dir: &Path) -> Result<Self> {
        let owner = Rights::now();
        let hold = || -> Result<Option<Held>> {
            let held = make(dir, owner, CACHE)?;
            if !held.is_roots()? {
                held.become_roots(PRIVATE_DIR)?;
                for entry in std::fs::read_dir(held.at(""))? {
                    let entry = entry?;
                    if entry.file_type()?.is_dir() {
                        std::fs::remove_dir_all(entry.path())?;
                    } else {
                        std::fs::remove_file(entry.path())?;
                    }
                }
            }
            Ok(Some(held))
        };
        let held = if owner::is_for_another() { as_caller_in(dir, hold)? } else { None };
        Ok(Self { shown: dir.join(CACHE), held })
    }

    /// `pki/` of a new state in `dir`, which exists.
    pub(super) fn new_pki(dir: &Path) -> Result<Self> {
        let (shown, owner) = (dir.join(PKI), Rights::now());
        if !owner::is_for_another() {
            files::create_own_dir(&shown, PRIVATE_DIR)?;
            return Ok(Self { shown, held: None });
        }
        let hold = || -> Result<Held> {
            let held = make(dir, owner, PKI)?;
            held.become_roots(PKI_MODE)?;
            Ok(held)
        };
        Ok(Self { held: Some(as_caller_in(dir, hold)?), shown })
    }

    /// Says whether only root, or the user who runs this, can have written its files.
    pub(super) fn is_sure(&self) -> bool {
        self.held.is_some() || !owner::is_for_another()
    }

    pub(super) fn is_roots(&self) -> bool {
        self.held.is_some()
    }

    /// Says whether this process can make files in it.
    pub(super) fn is_writable(&self) -> bool {
        let (mode, flags) = (rustix::fs::Access::WRITE_OK, rustix::fs::AtFlags::EACCESS);
        self.held.is_some()
            || rustix::fs::accessat(rustix::fs::CWD, &self.shown, mode, flags).is_ok()
    }

    fn shown(&self, name: &str) -> PathBuf {
        self.shown.join(name)
    }

    /// A path to it, valid for as long as this value lives.
    pub(super) fn path(&self) -> PathBuf {
        self.held.as_ref().map_or_else(|| self.shown.clone(), |held| held.at(""))
    }

    pub(super) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let Some(held) = &self.held else { return files::read(&self.shown(name)) };
        as_caller(|| {
            // A link that root made in root's own directory may lead elsewhere.
            let uid = std::fs::symlink_metadata(held.at(name))?.uid();
            if uid != 0 && name != SERVER_KEY {
                return Err(io::Error::other(format!(
                    "it belongs to user {uid}, who could have changed it: chown root it if it is \
                     as it should be"
                )));
            }
            files::read(&held.at(name))
        })
    }

    /// Replaces a file, as [`files::replace`] does.
    pub(super) fn replace(&self, name: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        match &self.held {
            None => files::replace(&self.shown(name), mode, |file| file.write_all(bytes)),
            Some(held) => as_caller(|| held.write(name, mode, |file| file.write_all(bytes)))
                .with_context(|| format!("cannot write {}", self.shown(name).display())),
        }
    }

    /// Removes temporary files of a killed [`Vault::replace`]: they may hold the CA's key.
    pub(super) fn sweep(&self, names: &[&str]) -> Result<()> {
        let sweep = || files::sweep(&self.path(), names);
        if self.held.is_some() { as_caller(sweep) } else { sweep() }
            .with_context(|| format!("cannot clear {}", self.shown.display()))
    }
}

fn as_caller_in<T>(dir: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    as_caller(work).with_context(|| {
        format!("cannot keep {PKI} and {CACHE} in {} for root alone", dir.display())
    })
}

fn hold(dir: &Path, owner: Rights, name: &str) -> Result<Option<Held>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(&state(dir, owner)?, name, flags, Mode::empty()) {
        Ok(dir) => {
            let held = Held { dir: dir.into(), owner };
            let uid = held.dir.metadata()?.uid();
            ensure!(
                uid == 0 || uid == owner.user.as_raw(),
                "{name} belongs to user {uid}: chown -R root it"
            );
            Ok(Some(held))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::LOOP | Errno::NOTDIR) => bail!("{name} is not a directory"),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

fn make(dir: &Path, owner: Rights, name: &str) -> Result<Held> {
    match rustix::fs::mkdirat(&state(dir, owner)?, name, Mode::from_raw_mode(PRIVATE_DIR)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(io::Error::from(error).into()),
    }
    hold(dir, owner, name)?.with_context(|| format!("{name} is gone again"))
}

/// Opens the state's directory, and fails if its name leads to another one by now.
fn state(dir: &Path, owner: Rights) -> Result<File> {
    let dir = File::open(dir)?;
    ensure!(Rights::of(&dir.metadata()?).user == owner.user, "it is another directory now");
    Ok(dir)
}

/// Says whether root made this PKI: the state's owner cannot make a file of root's that holds a
/// key.
fn has_roots_key(held: &Held) -> Result<bool> {
    match held.open(CA_KEY) {
        Ok(key) => Ok(key.metadata()?.uid() == 0),
        Err(_) => Ok(false),
    }
}

/// Rewrites files of other users as root's, so that nobody else has an open handle to them. The
/// CA's certificate is rewritten only if it matches the key.
fn take_over(held: &Held) -> Result<()> {
    if !held.is_roots()? {
        held.become_roots(PKI_MODE)?;
        let key = held.open(SERVER_KEY).and_then(|key| key.metadata());
        if key.is_ok_and(|facts| facts.uid() == 0) {
            // Undo: the next command would take it for root's work.
            held.give_back()?;
            bail!(
                "{PKI}/{SERVER_KEY} belongs to root, in a directory of user {0}, who may have given \
                 the CA's key this name to get at it: if it is the server's key, chown {0} it",
                held.owner.user
            );
        }
    }
    // Owned by root, but not passable: after `chown -R root` of a directory with mode 0700.
    if !held.is_passable()? {
        held.dir.set_permissions(Permissions::from_mode(PKI_MODE))?;
    }
    let read = |name| -> Result<Option<(u32, String)>> {
        let mut file = match held.open(name) {
            Ok(file) => file,
            // Root made a link here, or nothing: nothing to convert.
            Err(_) => return Ok(None),
        };
        let mut text = String::new();
        file.read_to_string(&mut text).context(name)?;
        Ok(Some((file.metadata()?.uid(), text)))
    };
    if let Ok(key) = held.open(SERVER_KEY) {
        let facts = key.metadata()?;
        if facts.uid() == 0 && facts.nlink() == 1 {
            fchown(&key, Some(held.owner.user.as_raw()), Some(held.owner.group.as_raw()))?;
        }
    }
    for name in [CA, layout::SERVER, layout::CRL] {
        let Some((uid, text)) = read(name)? else { continue };
        if uid == 0 {
            continue;
        }
        if name == CA {
            // Without the key, only a person who knows the fingerprint can verify it.
            let Some((0, key)) = read(CA_KEY)? else { continue };
            Authority::from_pem(&text, &key).context(
                "ca.crt is not the certificate of ca.key, and the server's user could write it: \
                 restore it from a backup",
            )?;
        }
        held.write(name, layout::PUBLIC, |file| file.write_all(text.as_bytes()))?;
    }
    Ok(())
}
