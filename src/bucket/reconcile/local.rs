//! The steps that need no provider. Disk and clock.

use anyhow::Result;
use time::OffsetDateTime;

use super::pass::MOST_STEPS;
use super::pass::Pass;
use super::work::Work;
use crate::bucket::plan;
use crate::bucket::plan::Step;
use crate::bucket::stored::Stored;
use crate::config;

impl Pass<'_> {
    /// Takes the steps that need no provider. Returns whether others are due.
    pub(super) fn local(&self, work: &Work) -> Result<bool> {
        for _ in 0..MOST_STEPS {
            let stored = self.load(work)?;
            match self.next(work, &stored, self.now)? {
                Step::Nothing => {
                    self.all_well(work, &stored)?;
                    return Ok(false);
                }
                step if step.is_remote() => {
                    return Ok(self.now || plan::is_due(&stored, OffsetDateTime::now_utc()));
                }
                Step::Forget => return self.take_local(work, &Step::Forget).map(|()| false),
                step => self.take_local(work, &step)?,
            }
        }
        Ok(false)
    }

    pub(super) fn take_local(&self, work: &Work, step: &Step) -> Result<()> {
        match step {
            Step::Forget => self.disk.forget(&work.id),
            Step::Settle(key) => {
                // The key is on disk, so later boots get it.
                let history = self.generations.history(&work.id)?;
                let last = history.boots().keys().next_back().copied();
                self.update(work, |stored| stored.settled(key, last)).map(drop)
            }
            Step::TellEndpoint => {
                let provider = self.buckets.provider.as_ref();
                let Some((endpoint, region)) = provider.and_then(config::Provider::endpoint) else {
                    return Ok(());
                };
                let tell = |stored: &mut Stored| {
                    if let Some(bucket) = &mut stored.bucket {
                        bucket.endpoint = endpoint.to_string();
                        bucket.region = region.map(str::to_owned).or(bucket.region.take());
                    }
                };
                self.update(work, tell).map(drop)
            }
            _ => Ok(()),
        }
    }
}
