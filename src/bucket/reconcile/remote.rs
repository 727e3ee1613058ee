//! The steps that the provider is asked for.

use time::OffsetDateTime;

use super::MOST_STEPS;
use super::pass::Pass;
use super::work::Work;
use crate::bucket::disk::unique;
use crate::bucket::error::Error;
use crate::bucket::name::KeyName;
use crate::bucket::plan::Step;
use crate::bucket::provider::ListedKey;
use crate::bucket::provider::Owner;
use crate::bucket::provider::Provider;
use crate::bucket::stored::Rotate;
use crate::bucket::stored::Stored;
use crate::config;

/// Why a step was not taken.
pub(super) enum Failure {
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

impl Pass<'_> {
    /// Takes all steps that there are.
    pub(super) async fn remote<P: Provider>(
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
}
