//! Removes blobs that nothing names, batch by batch.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::time::Duration;
use std::time::SystemTime;

use anyhow::Context;
use anyhow::Result;
use serde::Serialize;

use super::super::State;
use super::super::blobs::Access;
use super::super::blobs::Blobs;
use super::super::generations::Generations;
use super::Survey;
use crate::fleet::BlobId;

/// A blob this new may belong to a generation that is being published: nothing would be lost, but
/// the publisher would have to copy it again.
pub const ORPHANED: Duration = Duration::from_secs(60 * 60);

/// Time for which a damaged blob that was set aside stays, for an operator to look at.
const LOOKED_AT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Blobs that are removed under one lock, since commands wait for it meanwhile.
const BATCH: usize = 256;

/// Blobs that may be removed.
pub type Candidates = BTreeSet<(Access, BlobId)>;

/// Files that were removed, and those that are left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Removed blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of the blobs that stay.
    pub bytes_left: u64,
}

/// Removes the blobs that no kept generation names: all, or those of `only`.
pub(super) fn sweep(
    state: &State,
    survey: &mut Survey,
    dry_run: bool,
    only: Option<&Candidates>,
) -> Result<Swept> {
    let generations = Generations::new(state);
    let (kept, now) = (survey.kept(), SystemTime::now());
    let (mut swept, mut unnamed) = (Swept::default(), Vec::new());
    for access in [Access::Public, Access::Private] {
        let blobs = generations.blobs_of(access);
        for (id, facts) in blobs.list().context("cannot list blobs")? {
            let young = only.is_none() && !is_older(&facts, ORPHANED, now);
            let meant = only.is_none_or(|only| only.contains(&(access, id)));
            if meant && !young && !is_named(&kept, access, id) {
                unnamed.push((access, id, facts.len()));
            } else {
                swept.bytes_left += facts.len();
            }
        }
        if !dry_run && only.is_none() {
            remove_aside(blobs, now)?;
        }
    }
    for batch in unnamed.chunks(BATCH) {
        // Nobody adds a generation from here on. What was added since is seen here.
        let _lock = match dry_run {
            true => None,
            false => Some(state.lock()?),
        };
        let kept = match dry_run {
            true => kept.clone(),
            false => {
                survey.refresh(None)?;
                survey.kept()
            }
        };
        for (access, id, size) in batch {
            if is_named(&kept, *access, *id) {
                swept.bytes_left += size;
                continue;
            }
            if !dry_run {
                let removed = generations.blobs_of(*access).remove(id);
                removed.with_context(|| format!("cannot remove blob {id}"))?;
            }
            swept.blobs += 1;
            swept.bytes += size;
        }
    }
    Ok(swept)
}

/// Older versions kept secrets among the public blobs, and they are still read there.
fn is_named(
    kept: &std::collections::HashSet<(Access, BlobId)>,
    access: Access,
    id: BlobId,
) -> bool {
    kept.contains(&(access, id))
        || access == Access::Public && kept.contains(&(Access::Private, id))
}

/// Says whether a file is at least this old. One that was changed in the future is not: one of the
/// clocks was wrong.
fn is_older(facts: &fs::Metadata, age: Duration, now: SystemTime) -> bool {
    let changed = facts.modified().ok();
    changed.and_then(|then| now.duration_since(then).ok()).is_some_and(|found| found >= age)
}

/// Removes damaged blobs that were set aside long ago.
fn remove_aside(blobs: &Blobs, now: SystemTime) -> Result<()> {
    let remove = || -> io::Result<()> {
        for path in blobs.set_aside_before()? {
            match fs::symlink_metadata(&path) {
                Ok(facts) if is_older(&facts, LOOKED_AT, now) => fs::remove_file(&path)?,
                _ => {}
            }
        }
        Ok(())
    };
    remove().context("cannot remove damaged blobs")
}
