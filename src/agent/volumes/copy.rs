//! The copy of a volume on the drive, and its exchange with the bucket. Touches drive and network.
//!
//! ```text
//! tree/         the files, for the containers
//! state.json    what tree and bucket had in common last; not there before the first complete copy
//! incoming/     a pull's files, under numbers; nothing of tree changes before all are here
//! incoming/apply.json   they are all here, and go to their places now
//! aside/        what was written here and in the bucket
//! ```
//!
//! A power cut before `apply.json` leaves the old copy, and one after it the new one: what is left
//! to do is done before anybody sees the files.

use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::fchown;
use std::path::Path;
use std::path::PathBuf;
use std::time::Instant;
use std::time::SystemTime;

use serde::Deserialize;
use serde::Serialize;

use super::bucket::Bucket;
use super::bucket::PART;
use super::bucket::Rights;
use super::key::Key;
use super::plan;
use super::plan::Base;
use super::plan::Common;
use super::plan::Files;
use super::plan::Terms;
use super::tree::Aside;
use super::tree::Scan;
use super::tree::Tree;
use super::tree::facts_of;
use crate::foreign::Foreign;

const TREE: &str = "tree";
const STATE: &str = "state.json";
const INCOMING: &str = "incoming";
const APPLY: &str = "apply.json";
const ASIDE: &str = "aside";

/// Rights of a file whose object says none: another program wrote it.
const PLAIN: Rights = Rights { mode: 0o644, owner: (0, 0) };

/// Files that are kept aside.
const MOST_ASIDE: usize = 32;

/// Failures in a row after which the bucket is taken for away.
const GIVE_UP: usize = 3;

/// Attempts at an object whose body breaks off.
const ATTEMPTS: usize = 3;

/// The copy of one volume.
#[derive(Debug)]
pub(super) struct Copy {
    home: PathBuf,
    tree: Tree,
    base: Base,
    /// There was a complete copy once.
    pub(super) complete: bool,
    /// The files at the last look.
    seen: Option<Files>,
    /// Steps before the power fails.
    #[cfg(test)]
    pub(super) power: std::cell::Cell<Option<usize>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct State {
    format: u32,
    files: Base,
}

/// What is to be done once all of a pull is here.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Apply {
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

/// What a pull brought.
#[derive(Debug, Default)]
pub(super) struct Pulled {
    /// Files that came, and that were removed.
    pub(super) fetched: usize,
    pub(super) removed: usize,
    /// Files that were moved aside.
    pub(super) aside: Vec<Foreign>,
    /// Keys that cannot be files.
    pub(super) strange: Vec<Foreign>,
}

/// What a push did.
#[derive(Debug, Default)]
pub(super) struct Pushed {
    pub(super) sent: usize,
    pub(super) deleted: usize,
    /// Files that changed on both sides.
    pub(super) both: Vec<Foreign>,
    /// What failed, and why.
    pub(super) failed: Vec<String>,
    pub(super) skipped: Vec<String>,
}

impl Copy {
    /// Opens the copy in `home`, which is made if it is missing, and ends what a power cut has
    /// interrupted.
    pub(super) fn open(home: &Path) -> io::Result<Self> {
        for name in [TREE, INCOMING] {
            fs::create_dir_all(home.join(name))?;
        }
        let state = read_json::<State>(&home.join(STATE))?.filter(|state| state.format == 1);
        let mut copy = Self {
            tree: Tree::open(&home.join(TREE))?,
            home: home.to_owned(),
            complete: state.is_some(),
            base: state.map(|state| state.files).unwrap_or_default(),
            seen: None,
            #[cfg(test)]
            power: std::cell::Cell::new(None),
        };
        if let Some(apply) = read_json(&home.join(INCOMING).join(APPLY))? {
            copy.apply(&apply)?;
        }
        copy.clear_incoming()?;
        Ok(copy)
    }

    /// The directory for the containers.
    pub(super) fn path(&self) -> PathBuf {
        self.home.join(TREE)
    }

    /// Brings the bucket's files. Until all of them are here, nothing changes.
    pub(super) fn pull(&mut self, bucket: &Bucket, delete_remote: bool) -> io::Result<Pulled> {
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
    fn apply(&mut self, apply: &Apply) -> io::Result<Vec<Foreign>> {
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

    /// Sends what changed. Unless it is the `last` push, only what has not changed since the look
    /// before: files are written in pieces. `pulled` is false if the bucket was away before the
    /// containers started.
    pub(super) fn push(
        &mut self,
        bucket: &Bucket,
        terms: Terms,
        pulled: bool,
        last: bool,
        until: Option<Instant>,
    ) -> io::Result<Pushed> {
        let Scan { files, skipped } = self.tree.scan()?;
        let skipped = skipped.iter().map(|(path, why)| format!("{path} ({why})")).collect();
        let mut pushed = Pushed { skipped, ..Pushed::default() };
        let settled = if last { files.clone() } else { self.settled(&files) };
        self.seen = Some(files);
        let is_new = |key: &Key, facts: &plan::Facts| {
            self.base.get(key).is_none_or(|common| common.facts != *facts)
        };
        let gone = terms.delete_remote && self.base.keys().any(|key| !settled.contains_key(key));
        if !gone && !settled.iter().any(|(key, facts)| is_new(key, facts)) {
            return Ok(pushed);
        }
        let objects = bucket.list()?.objects;
        if !pulled && !self.complete && !objects.is_empty() {
            return Err(io::Error::other(
                "the bucket's files were never here: nothing is pushed before a start pulls them",
            ));
        }
        let plan = plan::push(&self.base, &settled, &objects, terms);
        pushed.both = plan.both.iter().map(|key| Foreign::new(key.as_str())).collect();
        let (mut failures, late) = (0, || until.is_some_and(|until| Instant::now() > until));
        for key in plan.send.iter() {
            if failures >= GIVE_UP || late() {
                break;
            }
            match self.send(bucket, key, &settled[key]) {
                Ok(Some(tag)) => {
                    let facts = settled[key].clone();
                    self.base.insert(key.clone(), Common { tag, facts });
                    (pushed.sent, failures) = (pushed.sent + 1, 0);
                }
                // It is being written: the next push has it.
                Ok(None) => {}
                Err(error) => {
                    failures += 1;
                    pushed.failed.push(format!("{}: {error}", Foreign::new(key.as_str())));
                }
            }
        }
        for key in plan.delete.iter() {
            if failures >= GIVE_UP || late() {
                break;
            }
            match bucket.delete(key) {
                Ok(()) => {
                    self.base.remove(key);
                    pushed.deleted += 1;
                }
                Err(error) => {
                    failures += 1;
                    pushed.failed.push(format!("{}: {error}", Foreign::new(key.as_str())));
                }
            }
        }
        if pushed.sent + pushed.deleted > 0 {
            self.save()?;
            self.complete = true;
        }
        Ok(pushed)
    }

    /// The files as far as they are as they were at the last look; others as they were sent last.
    fn settled(&self, files: &Files) -> Files {
        let none = Files::new();
        let seen = self.seen.as_ref().unwrap_or(&none);
        let still = files.iter().filter(|(key, facts)| seen.get(*key) == Some(facts));
        let mut settled: Files = still.map(|(key, facts)| (key.clone(), facts.clone())).collect();
        for (key, common) in &self.base {
            let unsure = files.contains_key(key) || seen.contains_key(key) || self.seen.is_none();
            if unsure && !settled.contains_key(key) {
                settled.insert(key.clone(), common.facts.clone());
            }
        }
        settled
    }

    /// Sends one file; `None` if it was written meanwhile.
    fn send(&self, bucket: &Bucket, key: &Key, facts: &plan::Facts) -> io::Result<Option<String>> {
        let mut file = match self.tree.read(key) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let is_still = |file: &File| Ok::<_, io::Error>(facts_of(file)? == *facts);
        if !is_still(&file)? {
            return Ok(None);
        }
        let rights = Rights { mode: facts.mode, owner: facts.owner };
        if facts.size <= PART as u64 {
            let mut content = Vec::new();
            Read::by_ref(&mut file).take(PART as u64 + 1).read_to_end(&mut content)?;
            if content.len() as u64 != facts.size || !is_still(&file)? {
                return Ok(None);
            }
            return bucket.put(key, rights, &content).map(Some);
        }
        let again = file.try_clone()?;
        let written = || io::Error::other(WRITTEN);
        let unchanged = || if is_still(&again)? { Ok(()) } else { Err(written()) };
        match bucket.put_parts(key, rights, &mut file, unchanged) {
            Err(error) if error.to_string() == WRITTEN => Ok(None),
            tag => tag.map(Some),
        }
    }

    fn save(&self) -> io::Result<()> {
        self.write_json(STATE, &State { format: 1, files: self.base.clone() })
    }

    /// Writes a file whole or not at all, and lasting.
    fn write_json(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        self.step()?;
        let path = self.home.join(name);
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        file.sync_all()?;
        self.step()?;
        fs::rename(&new, &path)?;
        File::open(path.parent().unwrap_or(&self.home))?.sync_all()?;
        self.step()
    }

    fn clear_incoming(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.home.join(INCOMING))? {
            fs::remove_file(entry?.path())?;
        }
        Ok(())
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

    #[cfg(not(test))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests cut the power here")]
    fn step(&self) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    fn step(&self) -> io::Result<()> {
        let Some(left) = self.power.get() else { return Ok(()) };
        if left == 0 {
            return Err(io::Error::other("the power is cut"));
        }
        self.power.set(Some(left - 1));
        Ok(())
    }
}

const WRITTEN: &str = "it is being written";

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

/// Reads a file; `None` if it is not there, or not whole.
fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        bytes => Ok(serde_json::from_slice(&bytes?).ok()),
    }
}

/// Begins names, in the order of time.
fn stamp() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{:012}", since.as_secs())
}
