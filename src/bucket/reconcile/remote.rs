//! The steps that ask the provider. Disk, network and clock.

use time::OffsetDateTime;

use super::failure::Failure;
use super::pass::MOST_STEPS;
use super::pass::Pass;
use super::work::Work;
use crate::bucket::disk::unique;
use crate::bucket::error::Error;
use crate::bucket::name::KeyName;
use crate::bucket::plan::Step;
use crate::bucket::provider::ListedKey;
use crate::bucket::provider::Provider;
use crate::bucket::stored::Rotate;
use crate::bucket::stored::Stored;
use crate::config;
use crate::fleet::Act;
use crate::fleet::What;
use crate::store::acts::Acts;

/// Works on one gateway after the other.
pub(super) struct Remote<'a> {
    pub(super) pass: &'a Pass<'a>,
    pub(super) provider: &'a dyn Provider,
    /// Its keys, listed once for the whole fleet.
    keys: Option<Vec<ListedKey>>,
}

impl<'a> Remote<'a> {
    pub(super) fn new(pass: &'a Pass<'a>, provider: &'a dyn Provider) -> Self {
        Self { pass, provider, keys: None }
    }

    /// Takes every step that the gateway needs.
    pub(super) async fn take(&mut self, work: &Work) -> Result<(), Failure> {
        let mut check = self.pass.now;
        for _ in 0..MOST_STEPS {
            let stored = self.pass.load(work)?;
            let step = self.pass.next(work, &stored, check)?;
            if step.is_remote() {
                self.ensure_here(work, &stored)?;
            }
            match step {
                Step::Nothing => return Ok(self.pass.all_well(work, &stored)?),
                Step::ClearKey(name) => self.clear_key(work, &stored, &name).await?,
                Step::FindBucket => self.find_bucket(work, &stored).await?,
                Step::SetQuota => self.set_quota(work, &stored).await?,
                Step::MakeKey => self.make_key(work, &stored).await?,
                Step::DeleteKey(id) => self.delete_key(work, &id).await?,
                Step::Check => {
                    check = false;
                    self.check(work, &stored).await?;
                }
                Step::Forget => return Ok(self.pass.take_local(work, &step)?),
                Step::Settle(_) | Step::TellEndpoint => self.pass.take_local(work, &step)?,
            }
        }
        Ok(())
    }

    /// Fails if another provider has the gateway's bucket.
    fn ensure_here(&self, work: &Work, stored: &Stored) -> Result<(), Failure> {
        let ours = self.provider.name();
        let Some(theirs) = stored.provider.clone().filter(|name| *name != ours) else {
            return Ok(());
        };
        let file = self.pass.disk.file(&work.id).display().to_string();
        Err(Error::Elsewhere { theirs, ours, file }.into())
    }

    async fn clear_key(&mut self, work: &Work, stored: &Stored, name: &str) -> Result<(), Failure> {
        // A fresh list: the cached one may be older than the key.
        let keys = self.provider.keys().await?;
        let known = |id: &str| stored.keys.iter().any(|key| key.id == id);
        for key in keys.iter().filter(|key| key.name == name && !known(&key.id)) {
            self.provider.delete_key(&key.id).await?;
            let gateway = work.name.as_str();
            tracing::info!(gateway, key = key.id, "deleted a key whose secret was lost");
            self.note(What::KeyDeleted, work, &key.id);
            self.keys = None;
        }
        self.pass.update(work, |stored| stored.gave_up(name))?;
        Ok(())
    }

    async fn set_quota(&self, work: &Work, stored: &Stored) -> Result<(), Failure> {
        let Some(bucket) = &stored.bucket else { return Ok(()) };
        let quota = self.pass.buckets.provider.as_ref().and_then(config::Provider::quota);
        self.provider.set_quota(&bucket.id, quota).await?;
        self.pass.update(work, |stored| {
            if let Some(bucket) = &mut stored.bucket {
                bucket.quota = quota;
            }
        })?;
        Ok(())
    }

    async fn make_key(&mut self, work: &Work, stored: &Stored) -> Result<(), Failure> {
        let Some(bucket) = &stored.bucket else { return Ok(()) };
        let name = KeyName::new_for(work.id.as_str(), &self.pass.host, &unique());
        // Recorded before the key is made, so that it can always be found again.
        self.pass.update(work, |stored| stored.making = Some(name.clone()))?;
        let key = self.provider.make_key(&name, &bucket.id).await?;
        let gateway = work.name.as_str();
        tracing::info!(gateway, bucket = bucket.name, key = key.id, "has a new key");
        self.keys = None;
        let (id, now) = (key.id.clone(), OffsetDateTime::now_utc());
        self.pass.update(work, |stored| stored.made(key.id, key.secret, name, now))?;
        self.note(What::KeyMade, work, &id);
        Ok(())
    }

    async fn delete_key(&mut self, work: &Work, id: &str) -> Result<(), Failure> {
        self.provider.delete_key(id).await?;
        let gateway = work.name.as_str();
        tracing::info!(gateway, key = id, "deleted a key that is not needed any more");
        self.keys = None;
        self.pass.update(work, |stored| stored.deleted(id))?;
        self.note(What::KeyDeleted, work, id);
        Ok(())
    }

    /// Notes for the log what was done by itself. The id of a key is no secret.
    fn note(&self, what: What, work: &Work, key: &str) {
        let act = Act::new(what, None, OffsetDateTime::now_utc()).with_detail(key);
        let (gateway, gateway_id) = (Some(work.name.clone()), Some(work.id.clone()));
        Acts::new(self.pass.state).note(&Act { gateway, gateway_id, ..act });
    }

    async fn check(&mut self, work: &Work, stored: &Stored) -> Result<(), Failure> {
        let Some(bucket) = &stored.bucket else { return Ok(()) };
        let found = self.provider.find(&bucket.name, work.owner()).await?;
        let gone = || Error::Gone { bucket: bucket.name.clone(), gateway: work.name.to_string() };
        let found = found.ok_or_else(gone)?;
        let endpoint = self.provider.endpoint().await?;
        let keys = match &mut self.keys {
            Some(keys) => keys,
            none => none.insert(self.provider.keys().await?),
        };
        let own =
            |key: &&ListedKey| KeyName::host(&key.name, work.id.as_str()) == Some(&*self.pass.host);
        let present: Vec<_> =
            keys.iter().filter(own).map(|key| (key.id.clone(), key.name.clone())).collect();
        let lost = stored.keys.iter().filter(|key| present.iter().all(|(id, _)| *id != key.id));
        for key in lost {
            tracing::warn!(gateway = %work.name, key = key.id, "the provider no longer has this key");
        }
        let now = OffsetDateTime::now_utc();
        self.pass.update(work, |stored| {
            stored.checked(&present, now);
            if let Some(bucket) = &mut stored.bucket {
                (bucket.endpoint, bucket.region) = (endpoint.url, endpoint.region);
                // A new bucket under the same name: keys of the old one do not open it.
                if bucket.id != found.id {
                    bucket.id = found.id;
                    stored.rotate.get_or_insert(Rotate::Overlap);
                }
            }
        })?;
        Ok(())
    }
}
