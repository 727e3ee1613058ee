//! Finds the bucket of a gateway. Network; writes the result to the disk.

use super::failure::Failure;
use super::remote::Remote;
use super::work::Work;
use crate::bucket::error::Error;
use crate::bucket::name::bucket_name;
use crate::bucket::name::valve_infra_name;
use crate::bucket::stored::Bucket;
use crate::bucket::stored::Stored;

impl Remote<'_> {
    pub(super) async fn find_bucket(&self, work: &Work, stored: &Stored) -> Result<(), Failure> {
        let bucket = self.bucket(work, stored).await?;
        tracing::info!(gateway = work.name.as_str(), bucket = bucket.name, "has its bucket");
        self.pass.update(work, |stored| stored.found(self.provider.name(), bucket))?;
        Ok(())
    }

    /// The bucket that an operator named, or the one with the gateway's id, or one of
    /// valve-infra's, or a new one.
    async fn bucket(&self, work: &Work, stored: &Stored) -> Result<Bucket, Failure> {
        let provider = self.provider;
        let owner = work.owner();
        let own = bucket_name(work.id.as_str());
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
                None => match self.of_valve_infra(work).await? {
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

    /// The bucket that valve-infra made for one of the gateway's certificates, newest first.
    async fn of_valve_infra(&self, work: &Work) -> Result<Option<(String, String)>, Failure> {
        let server_name = self.pass.buckets.valve_infra_server_name.as_ref();
        let Some((server_name, record)) = server_name.zip(work.record.as_ref()) else {
            return Ok(None);
        };
        for certificate in self.pass.state.gateways().certificates(record)?.iter().rev() {
            for fingerprint in [certificate.sha1(), certificate.fingerprint.to_string()] {
                let name = valve_infra_name(server_name, &fingerprint);
                if let Some(found) = self.provider.find(&name, work.owner()).await? {
                    return Ok(Some((name, found.id)));
                }
            }
        }
        Ok(None)
    }
}
