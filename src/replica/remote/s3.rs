//! Builds the client of a bucket.

use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use object_store::BackoffConfig;
use object_store::ClientOptions;
use object_store::RetryConfig;
use object_store::aws::AmazonS3;
use object_store::aws::AmazonS3Builder;
use object_store::aws::S3ConditionalPut;

use super::credentials::Key;
use super::throttle::Throttle;
use crate::config;

/// A client of `bucket`, whose requests go through `throttle`.
pub(super) fn client(
    bucket: &str,
    config: &config::Store,
    throttle: Throttle,
    systemd: Option<&Path>,
) -> Result<AmazonS3> {
    let key = Key::read(config, systemd)?;
    let tls = config.endpoint.as_ref().is_none_or(|endpoint| endpoint.tls());
    let options = ClientOptions::new()
        .with_connect_timeout(config.timeout)
        // Each request has its own limit; one here would also end the upload of a part.
        .with_timeout_disabled()
        .with_allow_http(!tls);
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(&config.region)
        .with_access_key_id(key.access_key_id)
        .with_secret_access_key(key.secret_access_key)
        // Garage ignores the conditions, B2 refuses them. Nothing here needs them.
        .with_conditional_put(S3ConditionalPut::Disabled)
        .with_retry(RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: 2,
            retry_timeout: config.timeout,
        })
        .with_client_options(options)
        .with_http_connector(throttle);
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint.as_str());
    }
    builder.build().context("cannot use [store]")
}
