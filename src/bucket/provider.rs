use std::future::Future;
use std::path::Path;

use super::b2::B2;
use super::credentials::Credentials;
use super::error::Error;
use super::garage::Garage;
use super::stored::Secret;
use crate::config;
use crate::config::Buckets;

/// Who is to have a bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    /// Id of the gateway's record.
    pub(super) id: &'a str,
    /// Its name, for messages.
    pub(super) name: &'a str,
}

/// A bucket that was found or made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// What the provider calls it.
    pub(super) id: String,
    /// Whether it was made here for the gateway in question, or is good for nobody else.
    pub(super) ours: bool,
}

/// A key that was just made.
#[derive(Clone, Debug)]
pub(super) struct NewKey {
    pub(super) id: String,
    pub(super) secret: Secret,
}

/// A key that the provider has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListedKey {
    pub(super) id: String,
    pub(super) name: String,
}

/// Where gateways find their buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) url: String,
    pub(super) region: Option<String>,
}

/// What keeps buckets and keys. Each call can be repeated: whatever it leaves undone, or
/// whatever answer of it is lost, the next one finds out.
pub(super) trait Provider: Sync {
    /// The word for it in the configuration.
    fn name(&self) -> &'static str;

    /// The bucket called `name`, if there is one here. A public one is an error.
    fn find(
        &self,
        name: &str,
        owner: Owner<'_>,
    ) -> impl Future<Output = Result<Option<Found>, Error>> + Send;

    /// Makes a private bucket for `owner`.
    fn create(
        &self,
        name: &str,
        owner: Owner<'_>,
    ) -> impl Future<Output = Result<Found, Error>> + Send;

    /// Bounds the bytes in a bucket, or lifts the bound.
    fn set_quota(
        &self,
        bucket_id: &str,
        quota: Option<u64>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Makes a key that lists, reads, writes and deletes in this bucket, and does nothing else.
    fn make_key(
        &self,
        name: &str,
        bucket_id: &str,
    ) -> impl Future<Output = Result<NewKey, Error>> + Send;

    /// All keys there are.
    fn keys(&self) -> impl Future<Output = Result<Vec<ListedKey>, Error>> + Send;

    /// Deletes a key; that there is none is as good.
    fn delete_key(&self, id: &str) -> impl Future<Output = Result<(), Error>> + Send;

    /// Where gateways find what is made here.
    fn endpoint(&self) -> impl Future<Output = Result<Endpoint, Error>> + Send;
}

/// The provider that the configuration names.
pub struct AnyProvider(Kind);

enum Kind {
    B2(Box<B2>),
    Garage(Box<Garage>),
}

impl AnyProvider {
    /// Reads the credentials; asks nobody yet. `systemd` is where systemd puts credentials.
    pub fn connect(buckets: &Buckets, systemd: Option<&Path>) -> anyhow::Result<Self> {
        let Some(provider) = &buckets.provider else {
            anyhow::bail!(
                "buckets.provider is \"none\" in farmgate.toml: \
                 set it to \"b2\" or \"s3\" (docs/buckets.md)"
            );
        };
        let credentials = Credentials::read(buckets, provider.name(), systemd)?;
        let timeout = buckets.timeout;
        Ok(Self(match (provider, credentials) {
            (config::Provider::B2 { api, endpoint, region }, Credentials::B2 { key_id, key }) => {
                let endpoint = endpoint.as_ref().map(ToString::to_string);
                let b2 = B2::new(api.clone(), key_id, key, endpoint, region.clone(), timeout);
                Kind::B2(Box::new(b2))
            }
            (config::Provider::S3 { api, endpoint, region, .. }, Credentials::S3 { token }) => {
                let endpoint = Endpoint { url: endpoint.to_string(), region: region.clone() };
                Kind::Garage(Box::new(Garage::new(api.clone(), token, endpoint, timeout)))
            }
            _ => anyhow::bail!("the credentials are those of another provider"),
        }))
    }
}

impl AnyProvider {
    /// Sees whether the provider can be reached and takes the credentials.
    pub async fn probe(&self) -> Result<(), Error> {
        self.endpoint().await?;
        self.keys().await.map(drop)
    }
}

impl Provider for AnyProvider {
    fn name(&self) -> &'static str {
        match &self.0 {
            Kind::B2(b2) => b2.name(),
            Kind::Garage(garage) => garage.name(),
        }
    }

    async fn find(&self, name: &str, owner: Owner<'_>) -> Result<Option<Found>, Error> {
        match &self.0 {
            Kind::B2(b2) => b2.find(name, owner).await,
            Kind::Garage(garage) => garage.find(name, owner).await,
        }
    }

    async fn create(&self, name: &str, owner: Owner<'_>) -> Result<Found, Error> {
        match &self.0 {
            Kind::B2(b2) => b2.create(name, owner).await,
            Kind::Garage(garage) => garage.create(name, owner).await,
        }
    }

    async fn set_quota(&self, bucket_id: &str, quota: Option<u64>) -> Result<(), Error> {
        match &self.0 {
            Kind::B2(b2) => b2.set_quota(bucket_id, quota).await,
            Kind::Garage(garage) => garage.set_quota(bucket_id, quota).await,
        }
    }

    async fn make_key(&self, name: &str, bucket_id: &str) -> Result<NewKey, Error> {
        match &self.0 {
            Kind::B2(b2) => b2.make_key(name, bucket_id).await,
            Kind::Garage(garage) => garage.make_key(name, bucket_id).await,
        }
    }

    async fn keys(&self) -> Result<Vec<ListedKey>, Error> {
        match &self.0 {
            Kind::B2(b2) => b2.keys().await,
            Kind::Garage(garage) => garage.keys().await,
        }
    }

    async fn delete_key(&self, id: &str) -> Result<(), Error> {
        match &self.0 {
            Kind::B2(b2) => b2.delete_key(id).await,
            Kind::Garage(garage) => garage.delete_key(id).await,
        }
    }

    async fn endpoint(&self) -> Result<Endpoint, Error> {
        match &self.0 {
            Kind::B2(b2) => b2.endpoint().await,
            Kind::Garage(garage) => garage.endpoint().await,
        }
    }
}
