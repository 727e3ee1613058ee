//! Limits of this process: open files, core dumps.

use std::io;

use rustix::process::DumpableBehavior;
use rustix::process::Resource;
use rustix::process::Rlimit;

/// Keeps this process's memory, which may hold private keys, out of core dumps and away from
/// debuggers of the same user.
pub fn forbid_dumps() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Raises the soft limit of open files to the hard limit and returns it. The usual soft limit of
/// 1024 exists only for programs that call `select`.
pub fn raise_descriptors() -> u64 {
    let Rlimit { current, maximum } = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let now = match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    now.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_kept_from_dumps() {
        forbid_dumps().unwrap();
        let now = rustix::process::dumpable_behavior().unwrap();
        assert_eq!(now, DumpableBehavior::NotDumpable);
    }

    #[test]
    fn descriptors_are_raised_to_what_is_allowed() {
        let allowed = rustix::process::getrlimit(Resource::Nofile).maximum;
        assert_eq!(raise_descriptors(), allowed.unwrap_or(u64::MAX));
        let limit = rustix::process::getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
