//! A pull: the bucket's files come to the volume, all of them or none.

use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::fchown;
use std::path::Path;
use std::time::SystemTime;

use serde::Deserialize;
use serde::Serialize;

use super::APPLY;
use super::Copy;
use super::INCOMING;
use crate::agent::volumes::bucket::Bucket;
use crate::agent::volumes::bucket::Rights;
use crate::agent::volumes::key::Key;
use crate::agent::volumes::plan;
use crate::agent::volumes::plan::Common;
use crate::agent::volumes::tree::Aside;
use crate::foreign::Foreign;

const ASIDE: &str = "aside";

/// Rights of a file whose object says none: another program wrote it.
const PLAIN: Rights = Rights { mode: 0o644, owner: (0, 0) };

/// Files that are kept aside.
const MOST_ASIDE: usize = 32;

/// Attempts at an object whose body breaks off.
const ATTEMPTS: usize = 3;

/// The steps that are left once all of a pull is here.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Apply {
    stamp: String,
    fetched: Vec<Fetched>,
    remove: Vec<Key>,
    forget: Vec<Key>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Fetched {
    key: Key,
    file: String,
    tag: String,
    aside: bool,
}

/// The outcome of a pull.
#[derive(Debug, Default)]
pub(in crate::agent::volumes) struct Pulled {
    /// Files that came, and that were removed.
    pub(in crate::agent::volumes) fetched: usize,
    pub(in crate::agent::volumes) removed: usize,
    /// Files that were moved aside.
    pub(in crate::agent::volumes) aside: Vec<Foreign>,
    /// Keys that cannot be files.
    pub(in crate::agent::volumes) strange: Vec<Foreign>,
}

impl Copy {
    /// Brings the bucket's files. Until all of them are here, nothing changes.
    pub(in crate::agent::volumes) fn pull(
        &mut self,
        bucket: &Bucket,
        delete_remote: bool,
    ) -> io::Result<Pulled> {
        let listing = bucket.list()?;
        let scan = self.tree.scan()?;
        let plan = plan::pull(&self.base, &scan.files, &listing.objects, delete_remote);
        let fetched = self.fetch_all(bucket, &plan);
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(error) => {
                // The room is needed.
                self.clear_incoming()?;
                return Err(error);
            }
        };
        let forgotten =
            |key: &&Key| !listing.objects.contains_key(*key) && !plan.remove.contains(*key);
        let apply = Apply {
            stamp: stamp(),
            forget: self.base.keys().filter(forgotten).cloned().collect(),
            remove: plan.remove.into_iter().collect(),
            fetched,
        };
        self.step()?;
        self.tree.sync()?;
        self.write_json(&format!("{INCOMING}/{APPLY}"), &apply)?;
        let aside = self.apply(&apply)?;
        self.clear_incoming()?;
        Ok(Pulled {
            fetched: apply.fetched.len(),
            removed: apply.remove.len(),
            aside,
            strange: listing.strange,
        })
    }

    fn fetch_all(&self, bucket: &Bucket, plan: &plan::Pull) -> io::Result<Vec<Fetched>> {
        let mut all = Vec::new();
        for (number, key) in plan.fetch.iter().enumerate() {
            self.step()?;
            let file = number.to_string();
            let path = self.home.join(INCOMING).join(&file);
            let tag = fetch(bucket, key, &path)
                .map_err(|error| io::Error::new(error.kind(), format!("{key}: {error}")))?;
            let aside = plan.both.contains(key) && !self.is_same(key, &path)?;
            all.push(Fetched { key: key.clone(), file, tag, aside });
        }
        Ok(all)
    }

    fn is_same(&self, key: &Key, path: &Path) -> io::Result<bool> {
        let Ok(mut here) = self.tree.read(key) else { return Ok(false) };
        let mut there = File::open(path)?;
        let (mut a, mut b) = ([0; 8192], [0; 8192]);
        loop {
            let read = here.read(&mut a)?;
            if read == 0 {
                return Ok(there.read(&mut b)? == 0);
            }
            if there.read_exact(&mut b[..read]).is_err() || a[..read] != b[..read] {
                return Ok(false);
            }
        }
    }

    /// Moves all that was fetched to its place. May be done twice.
    pub(super) fn apply(&mut self, apply: &Apply) -> io::Result<Vec<Foreign>> {
        self.step()?;
        let mut aside = Aside::open(&self.home.join(ASIDE), apply.stamp.clone())?;
        let incoming = OwnedFd::from(File::open(self.home.join(INCOMING))?);
        for Fetched { key, file, tag, aside: keep } in &apply.fetched {
            self.step()?;
            aside.keeps_files = *keep;
            if self.home.join(INCOMING).join(file).try_exists()? {
                self.tree.place(key, (&incoming, file), &mut aside)?;
            }
            if let Some(facts) = self.tree.facts(key)? {
                self.base.insert(key.clone(), Common { tag: tag.clone(), facts });
            }
        }
        for key in &apply.remove {
            self.step()?;
            self.tree.remove(key)?;
            self.base.remove(key);
        }
        for key in &apply.forget {
            self.base.remove(key);
        }
        self.step()?;
        self.tree.sync()?;
        self.save()?;
        fs::remove_file(self.home.join(INCOMING).join(APPLY))?;
        self.trim_aside();
        Ok(aside.taken)
    }

    /// Forgets what was set aside longest ago.
    fn trim_aside(&self) {
        let entries = fs::read_dir(self.home.join(ASIDE)).into_iter().flatten().flatten();
        let names: BTreeSet<_> = entries.map(|entry| entry.file_name()).collect();
        for name in names.iter().take(names.len().saturating_sub(MOST_ASIDE)) {
            let path = self.home.join(ASIDE).join(name);
            // It only takes room.
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
        }
    }
}

/// Writes an object to `path`; returns its tag.
fn fetch(bucket: &Bucket, key: &Key, path: &Path) -> io::Result<String> {
    let mut attempt = 1;
    loop {
        let fetch = || -> io::Result<String> {
            let mut found = bucket.get(key)?;
            let mut file =
                File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
            io::copy(&mut found.body, &mut file)?;
            let Rights { mode, owner: (user, group) } = found.rights.unwrap_or(PLAIN);
            match fchown(&file, Some(user), Some(group)) {
                // Only root gives files away. The agent is root.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                given => given?,
            }
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            Ok(found.tag)
        };
        match fetch() {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return Err(error),
            Err(_) if attempt < ATTEMPTS => attempt += 1,
            fetched => return fetched,
        }
    }
}

/// Begins names, in the order of time.
fn stamp() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{:012}", since.as_secs())
}
