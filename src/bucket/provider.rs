//! Operations of every provider of buckets. No provider is named here: `connect.rs` chooses one.

use async_trait::async_trait;

use super::error::Error;
use super::stored::Secret;

/// The gateway that a bucket is for.
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
    /// The provider's own id for it.
    pub(super) id: String,
    /// True if it was made for this gateway, or is of no use to another one.
    pub(super) ours: bool,
}

/// A key that was just made.
#[derive(Clone, Debug)]
pub(super) struct NewKey {
    pub(super) id: String,
    pub(super) secret: Secret,
}

/// A key in the provider's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListedKey {
    pub(super) id: String,
    pub(super) name: String,
}

/// S3 address and region for gateways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) url: String,
    pub(super) region: Option<String>,
}

/// A provider of buckets and keys. Each call can be repeated: after a call that was cut off, or
/// whose answer was lost, the next one finds the result.
#[async_trait]
pub(super) trait Provider: Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &'static str;

    /// The bucket called `name`, if this account has one. A public bucket is an error.
    async fn find(&self, name: &str, owner: Owner<'_>) -> Result<Option<Found>, Error>;

    /// Makes a private bucket for `owner`.
    async fn create(&self, name: &str, owner: Owner<'_>) -> Result<Found, Error>;

    /// Limits the bytes in a bucket, or lifts the limit.
    async fn set_quota(&self, bucket_id: &str, quota: Option<u64>) -> Result<(), Error>;

    /// Makes a key that can list, read, write and delete in this bucket, and nothing else.
    async fn make_key(&self, name: &str, bucket_id: &str) -> Result<NewKey, Error>;

    /// All keys of the account.
    async fn keys(&self) -> Result<Vec<ListedKey>, Error>;

    /// Deletes a key. A missing one is no error.
    async fn delete_key(&self, id: &str) -> Result<(), Error>;

    /// S3 address and region for the buckets of this account.
    async fn endpoint(&self) -> Result<Endpoint, Error>;
}
