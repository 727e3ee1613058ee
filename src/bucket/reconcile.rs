use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use time::OffsetDateTime;

use super::backoff;
use super::disk::Disk;
use super::disk::unique;
use super::error::Error;
use super::name::KeyName;
use super::name::bucket_name;
use super::name::valve_infra_name;
use super::plan;
use super::plan::Situation;
use super::plan::Step;
use super::provider::AnyProvider;
use super::provider::ListedKey;
use super::provider::Owner;
use super::provider::Provider;
use super::stored::Bucket;
use super::stored::Rotate;
use super::stored::Stored;
use super::stored::Trouble;
use crate::config;
use crate::config::Buckets;
use crate::identity::GatewayName;
use crate::store::State;
use crate::store::events::EventId;
use crate::store::gateways::Record;
use crate::store::gateways::name_of;
use crate::store::generations::Generations;

/// More steps than any gateway needs. What is left is done the next time.
const MOST_STEPS: usize = 64;

/// What is to be brought in line.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Only this gateway.
    pub only: Option<GatewayName>,
    /// Also what failed a moment ago, or was looked at not long ago.
    pub now: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// Gateways whose buckets are not as they should be, with the reason.
    pub failed: Vec<(GatewayName, String)>,
}

/// Brings what the provider has in line with what gateways should have. Whoever calls it
/// holds [`Disk::reconciling`]. It can be cut off anywhere.
pub async fn reconcile(
    state: &State,
    connect: impl FnOnce() -> Result<AnyProvider>,
    scope: &Scope,
) -> Result<Report> {
    run(state, connect, scope).await
}

/// One gateway, there or removed.
struct Work {
    id: String,
    name: GatewayName,
    /// `None` if it was removed.
    record: Option<Record>,
}

/// Why a step was not taken.
enum Failure {
    /// The provider's fault, or that of what it was asked.
    Provider(Error),
    /// This machine's fault.
    Local(anyhow::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Provider(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Local(error)
    }
}

async fn run<P: Provider>(
    state: &State,
    connect: impl FnOnce() -> Result<P>,
    scope: &Scope,
) -> Result<Report> {
    let disk = Disk::new(state);
    let pass = Pass {
        state,
        disk: &disk,
        buckets: &state.config().buckets,
        generations: Generations::new(state),
        host: disk.host()?,
        now: scope.now,
    };
    let mut report = Report::default();
    let mut todo = Vec::new();
    for work in works(state, &disk, scope)? {
        // What the disk alone can settle needs no provider.
        match pass.local(&work) {
            Ok(true) => todo.push(work),
            Ok(false) => {}
            Err(error) => report.failed.push((work.name, format!("{error:#}"))),
        }
    }
    if todo.is_empty() {
        return Ok(report);
    }
    let provider = match connect() {
        Ok(provider) => provider,
        Err(error) => {
            let error = format!("{error:#}");
            pass.all_failed(&todo, &error, None, &mut report);
            return Ok(report);
        }
    };
    let mut listing = None;
    for (at, work) in todo.iter().enumerate() {
        match pass.remote(&provider, work, &mut listing).await {
            Ok(()) => {}
            Err(Failure::Local(error)) => {
                report.failed.push((work.name.clone(), format!("{error:#}")));
            }
            // The others would fare no better, and each would wait for it.
            Err(Failure::Provider(error)) if error.is_general() => {
                let retry_after = error.retry_after();
                pass.all_failed(&todo[at..], &error.to_string(), retry_after, &mut report);
                break;
            }
            Err(Failure::Provider(error)) => {
                pass.failed(work, &error.to_string(), None, &mut report);
            }
        }
    }
    Ok(report)
}

fn works(state: &State, disk: &Disk, scope: &Scope) -> Result<Vec<Work>> {
    // First, so that a gateway which is added meanwhile is not taken for a removed one.
    let ids: BTreeSet<String> = disk.ids()?.into_iter().collect();
    let gateways = state.gateways();
    let (mut works, mut known, mut all) = (Vec::new(), BTreeSet::new(), true);
    for name in gateways.names()? {
        match gateways.load(&name) {
            Ok(record) => {
                known.insert(record.id.clone());
                works.push(Work { id: record.id.clone(), name, record: Some(record) });
            }
            Err(error) => {
                all = false;
                tracing::error!(gateway = %name, "{error:#}");
            }
        }
    }
    // With a record that cannot be read, nobody knows whose bucket is nobody's.
    for id in ids.into_iter().filter(|id| all && !known.contains(id)) {
        if let Ok(name) = name_of(&id).parse() {
            works.push(Work { id, name, record: None });
        }
    }
    works.retain(|work| scope.only.as_ref().is_none_or(|only| *only == work.name));
    Ok(works)
}

/// What one run of the reconciler has at hand.
struct Pass<'a> {
    state: &'a State,
    disk: &'a Disk,
    buckets: &'a Buckets,
    generations: Generations,
    host: String,
    now: bool,
}

impl Pass<'_> {
    fn load(&self, work: &Work) -> Result<Stored> {
        Ok(self.disk.load(&work.id)?.unwrap_or_else(|| Stored::new(work.name.clone())))
    }

    fn update(&self, work: &Work, change: impl FnOnce(&mut Stored)) -> Result<Stored> {
        self.disk.update(&work.id, &work.name, change)
    }

    fn next(&self, work: &Work, stored: &Stored, check: bool) -> Result<Step> {
        // Only while there are several keys it matters what gateways said.
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

    /// Takes the steps that need no provider; whether there are others that are due.
    fn local(&self, work: &Work) -> Result<bool> {
        for _ in 0..MOST_STEPS {
            let stored = self.load(work)?;
            match self.next(work, &stored, self.now)? {
                Step::Nothing if stored.trouble.is_some() => {
                    self.update(work, |stored| stored.trouble = None)?;
                    return Ok(false);
                }
                Step::Nothing => return Ok(false),
                step if step.is_remote() => {
                    return Ok(self.now || plan::is_due(&stored, OffsetDateTime::now_utc()));
                }
                step => self.take_local(work, &step)?,
            }
        }
        Ok(false)
    }

    fn take_local(&self, work: &Work, step: &Step) -> Result<()> {
        match step {
            Step::Forget => self.disk.forget(&work.id),
            Step::Settle(key) => {
                // The key is on disk: boots from here on are given it.
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

    /// Takes all steps that there are.
    async fn remote<P: Provider>(
        &self,
        provider: &P,
        work: &Work,
        listing: &mut Option<Vec<ListedKey>>,
    ) -> Result<(), Failure> {
        let mut check = self.now;
        for _ in 0..MOST_STEPS {
            let stored = self.load(work)?;
            let step = self.next(work, &stored, check)?;
            if let Some(theirs) = stored.provider.as_deref().filter(|name| *name != provider.name())
                && step.is_remote()
            {
                let file = self.disk.file(&work.id).display().to_string();
                let (theirs, ours) = (theirs.to_owned(), provider.name());
                return Err(Error::Elsewhere { theirs, ours, file }.into());
            }
            let gateway = work.name.as_str();
            match step {
                Step::Nothing => {
                    if stored.trouble.is_some() {
                        self.update(work, |stored| stored.trouble = None)?;
                    }
                    return Ok(());
                }
                Step::ClearKey(name) => {
                    // Asked now: the listing may be older than the key.
                    let keys = provider.keys().await?;
                    let known = |id: &str| stored.keys.iter().any(|key| key.id == id);
                    for key in keys.iter().filter(|key| key.name == name && !known(&key.id)) {
                        provider.delete_key(&key.id).await?;
                        tracing::info!(
                            gateway,
                            key = key.id,
                            "deleted a key whose secret was lost"
                        );
                    }
                    self.update(work, |stored| stored.gave_up(&name))?;
                }
                Step::FindBucket => {
                    let bucket = self.find_bucket(provider, work, &stored).await?;
                    tracing::info!(gateway, bucket = bucket.name, "has its bucket");
                    self.update(work, |stored| stored.found(provider.name(), bucket))?;
                }
                Step::SetQuota => {
                    let quota = self.buckets.provider.as_ref().and_then(config::Provider::quota);
                    let Some(bucket) = stored.bucket else { continue };
                    provider.set_quota(&bucket.id, quota).await?;
                    self.update(work, |stored| {
                        if let Some(bucket) = &mut stored.bucket {
                            bucket.quota = quota;
                        }
                    })?;
                }
                Step::MakeKey => {
                    let Some(bucket) = stored.bucket else { continue };
                    let name = KeyName::new_for(&work.id, &self.host, &unique());
                    // Before it is made: whatever becomes of it, it can be found.
                    self.update(work, |stored| stored.making = Some(name.clone()))?;
                    let key = provider.make_key(&name, &bucket.id).await?;
                    tracing::info!(gateway, bucket = bucket.name, key = key.id, "has a new key");
                    *listing = None;
                    let now = OffsetDateTime::now_utc();
                    self.update(work, |stored| stored.made(key.id, key.secret, name, now))?;
                }
                Step::DeleteKey(id) => {
                    provider.delete_key(&id).await?;
                    tracing::info!(gateway, key = id, "deleted a key that is not needed any more");
                    *listing = None;
                    self.update(work, |stored| stored.deleted(&id))?;
                }
                Step::Check => {
                    check = false;
                    self.check(provider, work, &stored, listing).await?;
                }
                step @ (Step::Forget | Step::Settle(_) | Step::TellEndpoint) => {
                    self.take_local(work, &step)?;
                    if step == Step::Forget {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    async fn find_bucket<P: Provider>(
        &self,
        provider: &P,
        work: &Work,
        stored: &Stored,
    ) -> Result<Bucket, Failure> {
        let owner = Owner { id: &work.id, name: work.name.as_str() };
        let own = bucket_name(&work.id);
        let (name, id) = if let Some(name) = &stored.adopt {
            let found = provider.find(name, owner).await?;
            let gone = || Error::Gone { bucket: name.clone(), gateway: work.name.to_string() };
            (name.clone(), found.ok_or_else(gone)?.id)
        } else {
            match provider.find(&own, owner).await? {
                Some(found) if found.ours => (own, found.id),
                Some(_) => {
                    let gateway = work.name.to_string();
                    return Err(Error::Taken { bucket: own, gateway }.into());
                }
                None => match self.of_valve_infra(provider, work).await? {
                    Some(theirs) => theirs,
                    None => {
                        let made = provider.create(&own, owner).await?;
                        (own, made.id)
                    }
                },
            }
        };
        let endpoint = provider.endpoint().await?;
        Ok(Bucket { name, id, endpoint: endpoint.url, region: endpoint.region, quota: None })
    }

    /// The bucket that valve-infra made for one of the gateway's certificates, the newest
    /// first.
    async fn of_valve_infra<P: Provider>(
        &self,
        provider: &P,
        work: &Work,
    ) -> Result<Option<(String, String)>, Failure> {
        let server_name = self.buckets.valve_infra_server_name.as_ref();
        let Some((server_name, record)) = server_name.zip(work.record.as_ref()) else {
            return Ok(None);
        };
        let owner = Owner { id: &work.id, name: work.name.as_str() };
        for certificate in self.state.gateways().certificates(record)?.iter().rev() {
            for fingerprint in [certificate.sha1(), certificate.fingerprint.to_string()] {
                let name = valve_infra_name(server_name, &fingerprint);
                if let Some(found) = provider.find(&name, owner).await? {
                    return Ok(Some((name, found.id)));
                }
            }
        }
        Ok(None)
    }

    async fn check<P: Provider>(
        &self,
        provider: &P,
        work: &Work,
        stored: &Stored,
        listing: &mut Option<Vec<ListedKey>>,
    ) -> Result<(), Failure> {
        let Some(bucket) = &stored.bucket else { return Ok(()) };
        let owner = Owner { id: &work.id, name: work.name.as_str() };
        let found = provider.find(&bucket.name, owner).await?;
        let gone = || Error::Gone { bucket: bucket.name.clone(), gateway: work.name.to_string() };
        let found = found.ok_or_else(gone)?;
        let endpoint = provider.endpoint().await?;
        // One list serves the whole fleet.
        let keys = match listing {
            Some(keys) => keys,
            None => listing.insert(provider.keys().await?),
        };
        let own = |key: &&ListedKey| KeyName::host(&key.name, &work.id) == Some(&*self.host);
        let present: Vec<_> =
            keys.iter().filter(own).map(|key| (key.id.clone(), key.name.clone())).collect();
        let lost = stored.keys.iter().filter(|key| present.iter().all(|(id, _)| *id != key.id));
        for key in lost {
            tracing::warn!(gateway = %work.name, key = key.id, "the provider has this key no more");
        }
        let now = OffsetDateTime::now_utc();
        self.update(work, |stored| {
            stored.checked(&present, now);
            if let Some(bucket) = &mut stored.bucket {
                (bucket.endpoint, bucket.region) = (endpoint.url, endpoint.region);
                // Made anew under the same name: keys for the old one do not open it.
                if bucket.id != found.id {
                    bucket.id = found.id;
                    stored.rotate.get_or_insert(Rotate::Overlap);
                }
            }
        })?;
        Ok(())
    }

    fn all_failed(
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

    fn failed(&self, work: &Work, error: &str, retry_after: Option<Duration>, report: &mut Report) {
        report.failed.push((work.name.clone(), error.to_owned()));
        let at = OffsetDateTime::now_utc();
        let random = f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / f64::from(u8::MAX);
        let written = self.update(work, |stored| {
            let attempts = stored.trouble.as_ref().map_or(0, |trouble| trouble.attempts);
            let attempts = attempts.saturating_add(1);
            let not_before = at + backoff::wait(attempts, retry_after, random);
            let error = error.to_owned();
            stored.trouble = Some(Trouble { error, attempts, at, not_before });
        });
        if let Err(error) = written {
            tracing::error!(gateway = %work.name, "{error:#}");
        }
    }
}

#[cfg(test)]
mod tests;
