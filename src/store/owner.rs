//! The user and group with which a thread touches files.
//!
//! Root works on a state that belongs to the server's user, who can replace any file in it by a
//! symbolic link at any moment. Checks would not help. So from [`State::open`](super::State::open)
//! on, the thread and all threads that it starts touch files as the state's owner. Wherever a link
//! leads, they can do no more there than that owner could. This cannot be forgotten, because there
//! is no [`State`](super::State) without it.
//!
//! Files that the operator named on the command line are outside of the state. They are touched
//! with the operator's own rights: [`as_caller`].

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use nix::unistd::Gid;
use nix::unistd::Uid;
use nix::unistd::User;
use nix::unistd::getegid;
use nix::unistd::geteuid;
use nix::unistd::getgroups;
use nix::unistd::setfsgid;
use nix::unistd::setfsuid;
use nix::unistd::setgroups;

/// A user and a group, as the kernel checks them for file access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rights {
    pub(super) user: Uid,
    pub(super) group: Gid,
}

impl Rights {
    pub(super) const ROOT: Self = Self { user: Uid::from_raw(0), group: Gid::from_raw(0) };

    /// Those of a file's owner. The group is that user's own: the file may have another group,
    /// whose rights the user need not have.
    pub(super) fn of(facts: &Metadata) -> Self {
        let user = Uid::from_raw(facts.uid());
        let known = User::from_uid(user).ok().flatten();
        let group = known.map_or(Gid::from_raw(facts.gid()), |known| known.gid);
        Self { user, group }
    }

    /// Those of the user who started the program.
    fn of_caller() -> Self {
        Self { user: geteuid(), group: getegid() }
    }

    /// Those of this thread now.
    pub(super) fn now() -> Self {
        // Only root's are ever changed, and the server's unit forbids even these system calls.
        if !geteuid().is_root() {
            return Self::of_caller();
        }
        // These ids are invalid: the calls change nothing and return the current ids.
        let (no_user, no_group) = (Uid::from_raw(u32::MAX), Gid::from_raw(u32::MAX));
        let now = Self { user: setfsuid(no_user), group: setfsgid(no_group) };
        // If the calls are forbidden, nothing was changed either.
        if now.user == no_user || now.group == no_group { Self::of_caller() } else { now }
    }

    /// setfsuid reports no failure, so the result is read back.
    fn take(self) -> bool {
        setfsgid(self.group);
        setfsuid(self.user);
        Self::now() == self
    }
}

/// Says whether this thread works as another user than the caller.
pub(super) fn is_for_another() -> bool {
    Rights::now() != Rights::of_caller()
}

/// User and group of this thread.
pub(super) fn as_number() -> (u32, u32) {
    let Rights { user, group } = Rights::now();
    (user.as_raw(), group.as_raw())
}

/// User and group for programs that work on the state, if they are not the caller's: a program
/// would start with root's rights again.
pub fn for_programs() -> Option<(u32, u32)> {
    is_for_another().then(|| {
        let Rights { user, group } = Rights::now();
        (user.as_raw(), group.as_raw())
    })
}

/// Makes this thread, and all threads that it starts from now on, touch files as the owner of
/// `dir`, if root runs this and somebody else owns it. If `dir` is missing, the nearest directory
/// above counts.
pub fn work_as_owner_of(dir: &Path) -> Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let cannot = || format!("cannot read {}", dir.display());
    let (there, facts) = as_caller(|| nearest(dir)).with_context(cannot)?;
    let owner = Rights::of(&facts);
    if owner.user.is_root() {
        // This process will work on it as root, so no other user may be able to replace it.
        ensure_roots_alone(&there)?;
        let shared = facts.mode() & 0o002 != 0 || (facts.mode() & 0o020 != 0 && facts.gid() != 0);
        ensure!(
            !shared || there != std::path::absolute(dir)?,
            "others can write to {0} (mode {1:o}), and root would follow: chmod go-w {0}, or \
             choose a directory of its own",
            dir.display(),
            facts.mode() & 0o7777
        );
        ensure!(Rights::of_caller().take(), "cannot work as root again");
        return Ok(());
    }
    // Supplementary groups would be rights that the owner does not have.
    if !getgroups().context("cannot ask for groups")?.is_empty() {
        setgroups(&[]).with_context(|| cannot_be(owner, dir))?;
    }
    ensure!(owner.take(), cannot_be(owner, dir));
    Ok(())
}

fn cannot_be(owner: Rights, dir: &Path) -> String {
    format!(
        "{} belongs to user {}, and this process may not work as that user; run it as that user",
        dir.display(),
        owner.user
    )
}

fn nearest(dir: &Path) -> io::Result<(PathBuf, Metadata)> {
    let mut there = std::path::absolute(dir)?;
    loop {
        match std::fs::metadata(&there) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && there.pop() => {}
            facts => return Ok((there, facts?)),
        }
    }
}

/// Calls `work` with the caller's rights. It must not touch files of the state, except for those
/// that root alone can change.
pub fn as_caller<T>(work: impl FnOnce() -> T) -> T {
    /// Restores the owner even if `work` panics.
    struct Back(Rights);

    impl Drop for Back {
        fn drop(&mut self) {
            // It worked before, and the process has lost no capability since.
            if !self.0.take() {
                std::process::abort();
            }
        }
    }

    let before = Rights::now();
    let caller = Rights::of_caller();
    if before == caller {
        return work();
    }
    let _back = Back(before);
    // If that is refused, `work` fails at files that it may not open.
    caller.take();
    work()
}

/// Fails if a user other than root could replace `path` or add to it, through any directory on the
/// way to it, including symbolic links.
pub(super) fn ensure_roots_alone(path: &Path) -> Result<()> {
    const MOST_LINKS: usize = 40;
    let cannot = || format!("cannot read {}", path.display());
    let mut way: VecDeque<OsString> = names(&std::path::absolute(path).with_context(cannot)?);
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    loop {
        let facts = as_caller(|| std::fs::symlink_metadata(&at)).with_context(cannot)?;
        if facts.is_symlink() {
            links += 1;
            ensure!(links <= MOST_LINKS, "{}: too many symbolic links", path.display());
            let target = as_caller(|| std::fs::read_link(&at)).with_context(cannot)?;
            at.pop();
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            for name in names(&target).into_iter().rev() {
                way.push_front(name);
            }
        } else if !is_roots_alone(&facts) {
            bail!(
                "{} can be changed by user {} (mode {:o}), and root would follow: run this as \
                 that user, or take a directory that is root's alone",
                at.display(),
                facts.uid(),
                facts.mode() & 0o7777
            );
        }
        let Some(name) = way.pop_front() else { return Ok(()) };
        if name == ".." {
            at.pop();
        } else {
            at.push(name);
        }
    }
}

/// Fails if a user other than root may have made the directory `dir`, or its name.
pub(super) fn ensure_made_by_root(dir: &Path) -> Result<()> {
    let dir = std::path::absolute(dir)?;
    let parent = dir.parent().unwrap_or(&dir);
    ensure_roots_alone(parent)?;
    let facts = as_caller(|| std::fs::metadata(parent))?;
    ensure!(
        facts.mode() & 0o002 == 0,
        "{} belongs to another user, who may have made it to get the keys in it: choose a \
         directory of your own",
        dir.display()
    );
    Ok(())
}

fn is_roots_alone(facts: &Metadata) -> bool {
    const STICKY: u32 = 0o1000;
    is_as_good_as_root(facts.uid()) && (facts.mode() & 0o002 == 0 || facts.mode() & STICKY != 0)
}

/// Says whether this user is root, or became root by sudo.
pub(super) fn is_as_good_as_root(user: u32) -> bool {
    let sudo = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
    user == 0 || Some(user) == sudo
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A user who could get a directory's group changed would gain root's rights.
    #[test]
    fn the_group_of_a_directory_is_no_right_of_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let before = Rights::of(&std::fs::metadata(dir.path()).unwrap());
        let me = User::from_uid(geteuid()).unwrap();
        assert_eq!(before.group, me.map_or_else(getegid, |me| me.gid));
        if geteuid().is_root() {
            std::os::unix::fs::chown(dir.path(), None, Some(before.group.as_raw() + 1)).unwrap();
            assert_eq!(Rights::of(&std::fs::metadata(dir.path()).unwrap()), before);
        }
    }
}
