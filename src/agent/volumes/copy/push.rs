//! A push: files that changed go to the bucket.

use std::fs::File;
use std::io;
use std::io::Read;
use std::time::Instant;

use super::Copy;
use crate::agent::volumes::bucket::Bucket;
use crate::agent::volumes::bucket::PART;
use crate::agent::volumes::bucket::Rights;
use crate::agent::volumes::key::Key;
use crate::agent::volumes::plan;
use crate::agent::volumes::plan::Common;
use crate::agent::volumes::plan::Files;
use crate::agent::volumes::plan::Terms;
use crate::agent::volumes::tree::Scan;
use crate::agent::volumes::tree::facts_of;
use crate::foreign::Foreign;

/// Failures in a row after which the bucket is taken for away.
const GIVE_UP: usize = 3;

/// The outcome of a push.
#[derive(Debug, Default)]
pub(in crate::agent::volumes) struct Pushed {
    pub(in crate::agent::volumes) sent: usize,
    pub(in crate::agent::volumes) deleted: usize,
    /// Files that changed on both sides.
    pub(in crate::agent::volumes) both: Vec<Foreign>,
    /// Failures, each with its reason.
    pub(in crate::agent::volumes) failed: Vec<String>,
    pub(in crate::agent::volumes) skipped: Vec<String>,
}

impl Copy {
    /// Sends what changed. Unless it is the `last` push, only what has not changed since the look
    /// before: files are written in pieces. `pulled` is false if the bucket was away before the
    /// containers started.
    pub(in crate::agent::volumes) fn push(
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
        bucket.put_parts(key, rights, &mut file, || is_still(&again))
    }
}
