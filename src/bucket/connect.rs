//! The provider that the configuration names, with its credentials. Reads a file; the network is
//! first used by the provider's calls.

use std::path::Path;

use super::b2::B2;
use super::credentials::Credentials;
use super::error::Error;
use super::garage::Garage;
use super::provider::Endpoint;
use super::provider::Provider;
use crate::config;
use crate::config::Buckets;

/// The provider that the configuration names.
pub struct AnyProvider(Box<dyn Provider>);

impl AnyProvider {
    /// Reads the credentials, and sends nothing yet. `systemd` is systemd's credentials directory.
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
                Box::new(B2::new(api.clone(), key_id, key, endpoint, region.clone(), timeout))
            }
            (config::Provider::S3 { api, endpoint, region, .. }, Credentials::S3 { token }) => {
                let endpoint = Endpoint { url: endpoint.to_string(), region: region.clone() };
                Box::new(Garage::new(api.clone(), token, endpoint, timeout))
            }
            _ => anyhow::bail!("the credentials are those of another provider"),
        }))
    }

    /// Checks that the provider can be reached and accepts the credentials.
    pub async fn probe(&self) -> Result<(), Error> {
        self.0.endpoint().await?;
        self.0.keys().await.map(drop)
    }

    pub(super) fn into_inner(self) -> Box<dyn Provider> {
        self.0
    }
}
