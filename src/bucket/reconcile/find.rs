//! Which bucket a gateway has.

use super::pass::Pass;
use super::remote::Failure;
use super::work::Work;
use crate::bucket::error::Error;
use crate::bucket::name::bucket_name;
use crate::bucket::name::valve_infra_name;
use crate::bucket::provider::Owner;
use crate::bucket::provider::Provider;
use crate::bucket::stored::Bucket;
use crate::bucket::stored::Stored;

impl Pass<'_> {
    pub(super) async fn find_bucket<P: Provider>(
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
}
