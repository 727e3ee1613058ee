//! The inputs of one run of the reconciler, and how it records failures. Disk and clock.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use time::OffsetDateTime;

use super::scope::Report;
use super::work::Work;
use crate::backoff::jitter;
use crate::bucket::disk::Disk;
use crate::bucket::plan;
use crate::bucket::plan::Situation;
use crate::bucket::plan::Step;
use crate::bucket::stored::Stored;
use crate::bucket::stored::Trouble;
use crate::config;
use crate::config::Buckets;
use crate::fleet::EventId;
use crate::store::State;
use crate::store::generations::Generations;

/// More steps than any gateway needs. The next pass takes the rest.
pub(super) const MOST_STEPS: usize = 64;

/// The inputs of one run of the reconciler.
pub(super) struct Pass<'a> {
    pub(super) state: &'a State,
    pub(super) disk: &'a Disk,
    pub(super) buckets: &'a Buckets,
    pub(super) generations: Generations,
    pub(super) host: String,
    pub(super) now: bool,
}

impl Pass<'_> {
    pub(super) fn load(&self, work: &Work) -> Result<Stored> {
        Ok(self.disk.load(&work.id)?.unwrap_or_else(|| Stored::new(work.name.clone())))
    }

    pub(super) fn update(&self, work: &Work, change: impl FnOnce(&mut Stored)) -> Result<Stored> {
        self.disk.update(&work.id, &work.name, change)
    }

    pub(super) fn next(&self, work: &Work, stored: &Stored, check: bool) -> Result<Step> {
        // Acknowledgements matter only while there are several keys.
        let acknowledged: BTreeSet<EventId> = if stored.keys.len() > 1 && work.record.is_some() {
            let history = self.generations.history(&work.id)?;
            let boots = history.boots().iter();
            boots.filter(|(_, boot)| boot.acknowledged).map(|(id, _)| *id).collect()
        } else {
            BTreeSet::new()
        };
        let provider = self.buckets.provider.as_ref();
        let endpoint = provider.and_then(config::Provider::endpoint);
        let situation = Situation {
            wanted: work.record.is_some(),
            endpoint: endpoint.map(|(url, region)| (url.as_str(), region)),
            quota: provider.and_then(config::Provider::quota),
            acknowledged: &|boot| acknowledged.contains(&boot),
            now: OffsetDateTime::now_utc(),
            check,
        };
        Ok(plan::next(stored, &situation))
    }

    /// Records that a gateway needs nothing more.
    pub(super) fn all_well(&self, work: &Work, stored: &Stored) -> Result<()> {
        if stored.trouble.is_some() {
            self.update(work, |stored| stored.trouble = None)?;
        }
        Ok(())
    }

    pub(super) fn all_failed(
        &self,
        works: &[Work],
        error: &str,
        retry_after: Option<Duration>,
        report: &mut Report,
    ) {
        for work in works {
            self.failed(work, error, retry_after, report);
        }
    }

    pub(super) fn failed(
        &self,
        work: &Work,
        error: &str,
        retry_after: Option<Duration>,
        report: &mut Report,
    ) {
        report.failed.push((work.name.clone(), error.to_owned()));
        let at = OffsetDateTime::now_utc();
        let written = self.update(work, |stored| {
            let attempts = stored.trouble.as_ref().map_or(0, |trouble| trouble.attempts);
            let not_before = at + plan::RETRY.wait(attempts, retry_after, jitter());
            let attempts = attempts.saturating_add(1);
            let error = error.to_owned();
            stored.trouble = Some(Trouble { error, attempts, at, not_before });
        });
        if let Err(error) = written {
            tracing::error!(gateway = %work.name, "{error:#}");
        }
    }
}
