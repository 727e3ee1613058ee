//! Garage by version 2 of its admin API. Network.

use std::time::Duration;

use ::http::Method;
use ::http::StatusCode;
use async_trait::async_trait;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use serde_json::Value;
use serde_json::json;

use super::error::Error;
use super::http::Answer;
use super::http::Ask;
use super::http::Http;
use super::name::KeyName;
use super::provider::Endpoint;
use super::provider::Found;
use super::provider::ListedKey;
use super::provider::NewKey;
use super::provider::Owner;
use super::provider::Provider;
use super::stored::Secret;
use crate::config::ApiUrl;

/// One cluster of Garage.
pub(super) struct Garage {
    http: Http,
    api: ApiUrl,
    token: Secret,
    endpoint: Endpoint,
}

impl Garage {
    pub(super) fn new(api: ApiUrl, token: Secret, endpoint: Endpoint, timeout: Duration) -> Self {
        Self { http: Http::new(timeout), api, token, endpoint }
    }

    async fn call(
        &self,
        call: &'static str,
        query: Option<(&str, &str)>,
        body: Option<Value>,
    ) -> Result<Answer, Error> {
        let query = query.map_or_else(String::new, |(name, value)| {
            format!("?{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))
        });
        let reads = call.starts_with("Get") || call.starts_with("List");
        let ask = Ask {
            call,
            method: if reads { Method::GET } else { Method::POST },
            base: &self.api,
            path: format!("/v2/{call}{query}"),
            authorization: format!("Bearer {}", self.token.reveal()),
            body,
        };
        self.http.ask(ask).await
    }

    async fn ok(
        &self,
        call: &'static str,
        query: Option<(&str, &str)>,
        body: Option<Value>,
    ) -> Result<Answer, Error> {
        let answer = self.call(call, query, body).await?;
        if answer.status.is_success() { Ok(answer) } else { Err(answer.refused(&self.api, call)) }
    }

    fn not_understood(&self, call: &'static str) -> Error {
        Error::NotUnderstood { host: self.api.host().to_owned(), call }
    }
}

/// Garage stores no notes about a bucket. It is the gateway's own if one of the gateway's keys
/// opens it, or if it is empty and without keys: then its creation was cut off.
fn is_ours(bucket: &Value, gateway_id: &str) -> bool {
    let keys = bucket.get("keys").and_then(Value::as_array);
    let Some(keys) = keys else { return false };
    let name = |key: &Value| key.get("name").and_then(Value::as_str).map(str::to_owned);
    let own =
        |key: &Value| name(key).is_some_and(|name| KeyName::host(&name, gateway_id).is_some());
    let empty = bucket.get("objects").and_then(Value::as_u64) == Some(0);
    keys.iter().any(own) || (keys.is_empty() && empty)
}

#[async_trait]
impl Provider for Garage {
    fn name(&self) -> &'static str {
        "s3"
    }

    async fn find(&self, name: &str, owner: Owner<'_>) -> Result<Option<Found>, Error> {
        let call = "GetBucketInfo";
        let answer = self.call(call, Some(("globalAlias", name)), None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return match &*answer.code() {
                "NoSuchBucket" => Ok(None),
                _ => Err(self.not_understood(call)),
            };
        }
        if !answer.status.is_success() {
            return Err(answer.refused(&self.api, call));
        }
        if answer.body.get("websiteAccess") == Some(&Value::Bool(true)) {
            return Err(Error::Public { bucket: name.to_owned() });
        }
        let id = answer.text("/id").ok_or_else(|| self.not_understood(call))?;
        Ok(Some(Found { id, ours: is_ours(&answer.body, owner.id) }))
    }

    async fn create(&self, name: &str, owner: Owner<'_>) -> Result<Found, Error> {
        let call = "CreateBucket";
        let answer = self.call(call, None, Some(json!({"globalAlias": name}))).await?;
        if answer.status == StatusCode::CONFLICT {
            let (bucket, gateway) = (name.to_owned(), owner.name.to_owned());
            return Err(Error::Taken { bucket, gateway });
        }
        if !answer.status.is_success() {
            return Err(answer.refused(&self.api, call));
        }
        let id = answer.text("/id").ok_or_else(|| self.not_understood(call))?;
        Ok(Found { id, ours: true })
    }

    async fn set_quota(&self, bucket_id: &str, quota: Option<u64>) -> Result<(), Error> {
        let body = json!({"quotas": {"maxSize": quota, "maxObjects": null}});
        self.ok("UpdateBucket", Some(("id", bucket_id)), Some(body)).await.map(drop)
    }

    async fn make_key(&self, name: &str, bucket_id: &str) -> Result<NewKey, Error> {
        let call = "CreateKey";
        // The key opens nothing until `AllowBucketKey`, and can make no buckets.
        let body = json!({"name": name, "allow": {"createBucket": false}});
        let answer = self.ok(call, None, Some(body)).await?;
        let key = || {
            let secret = Secret::new(answer.text("/secretAccessKey")?);
            Some(NewKey { id: answer.text("/accessKeyId")?, secret })
        };
        let key = key().ok_or_else(|| self.not_understood(call))?;
        let body = json!({
            "bucketId": bucket_id,
            "accessKeyId": key.id,
            "permissions": {"read": true, "write": true, "owner": false},
        });
        self.ok("AllowBucketKey", None, Some(body)).await?;
        Ok(key)
    }

    async fn keys(&self) -> Result<Vec<ListedKey>, Error> {
        let call = "ListKeys";
        let answer = self.ok(call, None, None).await?;
        let keys = answer.body.as_array().ok_or_else(|| self.not_understood(call))?;
        let listed = |key: &Value| {
            let text = |name: &str| key.get(name)?.as_str().map(str::to_owned);
            // An expired key opens nothing, as if it were deleted.
            let expired = key.get("expired") == Some(&Value::Bool(true));
            let listed = ListedKey { id: text("id")?, name: text("name").unwrap_or_default() };
            Some((listed, expired))
        };
        let keys: Option<Vec<_>> = keys.iter().map(listed).collect();
        let keys = keys.ok_or_else(|| self.not_understood(call))?;
        Ok(keys.into_iter().filter(|(_, expired)| !expired).map(|(key, _)| key).collect())
    }

    async fn delete_key(&self, id: &str) -> Result<(), Error> {
        let call = "DeleteKey";
        let answer = self.call(call, Some(("id", id)), None).await?;
        let gone = answer.status == StatusCode::NOT_FOUND && answer.code() == "NoSuchAccessKey";
        if gone || answer.status.is_success() {
            return Ok(());
        }
        Err(answer.refused(&self.api, call))
    }

    async fn endpoint(&self) -> Result<Endpoint, Error> {
        Ok(self.endpoint.clone())
    }
}
