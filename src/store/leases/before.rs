//! Leases as version 0.1 stored them: a folder `DIGEST` for each, with `lease.json` and a file for
//! each reading; `new-DIGEST` while it was being made, and `gone-DIGEST` while it was being
//! removed. Touches the disk.

use std::fs;
use std::path::Path;

use super::lease::Lease;
use super::slip::Slip;
use super::slip::is_digest;

const LEASE: &str = "lease.json";

/// Says whether an older version made this entry of the folder of leases.
pub(super) fn is_from_before(name: &str) -> bool {
    is_digest(name.strip_prefix("new-").or(name.strip_prefix("gone-")).unwrap_or(name))
}

/// Removes the folder of a lease, and returns the lease if it is still valid. It is then in memory
/// only: nobody can read it after the next restart.
pub(super) fn take_over(folder: &Path) -> Option<(Slip, Lease)> {
    let found = read(folder);
    let removed = fs::remove_file(folder.join(LEASE)).is_ok();
    // Without that file, the other files are useless.
    if let Err(error) = fs::remove_dir_all(folder) {
        tracing::warn!("cannot remove {}: {error}", folder.display());
    }
    found.filter(|_| removed)
}

fn read(folder: &Path) -> Option<(Slip, Lease)> {
    let digest = folder.file_name()?.to_str().filter(|name| is_digest(name))?.to_owned();
    let lease: Lease = serde_json::from_slice(&fs::read(folder.join(LEASE)).ok()?).ok()?;
    let names = fs::read_dir(folder).ok()?;
    let names = names.map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_reading = |name: Option<String>| name.is_none_or(|name| name.parse::<u32>().is_ok());
    // An unreadable name may be that of a reading.
    let readings = names.filter(|name| is_reading(name.clone())).count();
    let left = lease.max_reads.checked_sub(readings.try_into().ok()?).filter(|left| *left > 0)?;
    Some((Slip::new(&lease, left, digest), lease))
}
