//! Backblaze B2 by its native API. Network.
//!
//! Version 3, because version 4 lists and deletes only keys for several buckets.

use std::time::Duration;

use ::http::Method;
use ::http::StatusCode;
use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use serde_json::json;
use tokio::sync::Mutex;

use super::error::Error;
use super::http::Answer;
use super::http::Ask;
use super::http::Http;
use super::provider::Endpoint;
use super::provider::Found;
use super::provider::ListedKey;
use super::provider::NewKey;
use super::provider::Owner;
use super::provider::Provider;
use super::stored::Secret;
use crate::config::ApiUrl;

/// List, read, write, delete. `listBuckets` shows the key's own bucket, whose id clients look up
/// by its name.
const CAPABILITIES: [&str; 5] =
    ["listBuckets", "listFiles", "readFiles", "writeFiles", "deleteFiles"];

/// The key in `bucketInfo` with the gateway that a bucket was made for.
const GATEWAY: &str = "farmgate-gateway";

/// Keys in one answer: the most that B2 charges as one call.
const PAGE: u32 = 1000;

/// One account of B2.
pub(super) struct B2 {
    http: Http,
    api: ApiUrl,
    key_id: String,
    key: Secret,
    endpoint: Option<String>,
    region: Option<String>,
    session: Mutex<Option<Session>>,
}

/// The result of authorization, valid for a day at most.
#[derive(Clone)]
struct Session {
    account: String,
    token: String,
    api: ApiUrl,
    s3: String,
}

impl B2 {
    pub(super) fn new(
        api: ApiUrl,
        key_id: String,
        key: Secret,
        endpoint: Option<String>,
        region: Option<String>,
        timeout: Duration,
    ) -> Self {
        let session = Mutex::new(None);
        Self { http: Http::new(timeout), api, key_id, key, endpoint, region, session }
    }

    async fn session(&self) -> Result<Session, Error> {
        let mut session = self.session.lock().await;
        if let Some(session) = &*session {
            return Ok(session.clone());
        }
        let call = "b2_authorize_account";
        let basic = BASE64_STANDARD.encode(format!("{}:{}", self.key_id, self.key.reveal()));
        let ask = Ask {
            call,
            method: Method::GET,
            base: &self.api,
            path: format!("/b2api/v3/{call}"),
            authorization: format!("Basic {basic}"),
            body: None,
        };
        let answer = self.http.ask(ask).await?;
        if answer.status != StatusCode::OK {
            return Err(answer.refused(&self.api, call));
        }
        let storage = |key: &str| answer.text(&format!("/apiInfo/storageApi/{key}"));
        let fresh = || {
            Some(Session {
                account: answer.text("/accountId")?,
                token: answer.text("/authorizationToken")?,
                // Every other call goes there, so it must be as private as the first address.
                api: storage("apiUrl")?.parse().ok().filter(|api: &ApiUrl| api.is_private())?,
                s3: storage("s3ApiUrl")?,
            })
        };
        let fresh = fresh().ok_or_else(|| self.not_understood(call))?;
        Ok(session.insert(fresh).clone())
    }

    /// Sends a call, and repeats it with a new session if the old one has expired.
    async fn call(
        &self,
        call: &'static str,
        body: impl Fn(&str) -> Value,
    ) -> Result<Answer, Error> {
        let mut first = true;
        loop {
            let session = self.session().await?;
            let ask = Ask {
                call,
                method: Method::POST,
                base: &session.api,
                path: format!("/b2api/v3/{call}"),
                authorization: session.token,
                body: Some(body(&session.account)),
            };
            let answer = self.http.ask(ask).await?;
            let code = answer.code();
            let ran_out = matches!(&*code, "expired_auth_token" | "bad_auth_token");
            if !first || answer.status != StatusCode::UNAUTHORIZED || !ran_out {
                return Ok(answer);
            }
            first = false;
            *self.session.lock().await = None;
        }
    }

    async fn ok(&self, call: &'static str, body: impl Fn(&str) -> Value) -> Result<Answer, Error> {
        let answer = self.call(call, body).await?;
        if answer.status == StatusCode::OK { Ok(answer) } else { Err(self.refused(&answer, call)) }
    }

    fn refused(&self, answer: &Answer, call: &'static str) -> Error {
        answer.refused(&self.api, call)
    }

    fn not_understood(&self, call: &'static str) -> Error {
        Error::NotUnderstood { host: self.api.host().to_owned(), call }
    }

    fn list<'a>(
        &self,
        answer: &'a Answer,
        key: &str,
        call: &'static str,
    ) -> Result<&'a [Value], Error> {
        let list = answer.body.get(key).and_then(Value::as_array);
        list.map(Vec::as_slice).ok_or_else(|| self.not_understood(call))
    }
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_owned)
}

#[async_trait]
impl Provider for B2 {
    fn name(&self) -> &'static str {
        "b2"
    }

    async fn find(&self, name: &str, owner: Owner<'_>) -> Result<Option<Found>, Error> {
        let call = "b2_list_buckets";
        let body = |account: &str| json!({"accountId": account, "bucketName": name});
        let answer = self.ok(call, body).await?;
        let buckets = self.list(&answer, "buckets", call)?;
        let named = |bucket: &&Value| text(bucket, "bucketName").as_deref() == Some(name);
        let Some(bucket) = buckets.iter().find(named) else { return Ok(None) };
        if text(bucket, "bucketType").as_deref() != Some("allPrivate") {
            return Err(Error::Public { bucket: name.to_owned() });
        }
        let id = text(bucket, "bucketId").ok_or_else(|| self.not_understood(call))?;
        let ours = bucket.pointer(&format!("/bucketInfo/{GATEWAY}"));
        Ok(Some(Found { id, ours: ours.and_then(Value::as_str) == Some(owner.id) }))
    }

    async fn create(&self, name: &str, owner: Owner<'_>) -> Result<Found, Error> {
        let call = "b2_create_bucket";
        let body = |account: &str| {
            json!({
                "accountId": account,
                "bucketName": name,
                "bucketType": "allPrivate",
                "bucketInfo": {GATEWAY: owner.id},
            })
        };
        let answer = self.call(call, body).await?;
        match answer.status {
            StatusCode::OK => {
                let id = answer.text("/bucketId").ok_or_else(|| self.not_understood(call))?;
                Ok(Found { id, ours: true })
            }
            // Not in this account: the caller looked there first.
            _ if answer.code() == "duplicate_bucket_name" => Err(Error::TakenElsewhere {
                bucket: name.to_owned(),
                gateway: owner.name.to_owned(),
            }),
            _ => Err(self.refused(&answer, call)),
        }
    }

    async fn set_quota(&self, _: &str, _: Option<u64>) -> Result<(), Error> {
        // The configuration refuses a quota for B2.
        Ok(())
    }

    async fn make_key(&self, name: &str, bucket_id: &str) -> Result<NewKey, Error> {
        let call = "b2_create_key";
        let body = |account: &str| {
            json!({
                "accountId": account,
                "keyName": name,
                "capabilities": CAPABILITIES,
                "bucketId": bucket_id,
            })
        };
        let answer = self.ok(call, body).await?;
        // If the provider did not restrict the key to the bucket, nobody gets it.
        if answer.text("/bucketId").as_deref() != Some(bucket_id) {
            return Err(self.not_understood(call));
        }
        let key = || {
            let secret = Secret::new(answer.text("/applicationKey")?);
            Some(NewKey { id: answer.text("/applicationKeyId")?, secret })
        };
        key().ok_or_else(|| self.not_understood(call))
    }

    async fn keys(&self) -> Result<Vec<ListedKey>, Error> {
        let call = "b2_list_keys";
        let (mut keys, mut start) = (Vec::new(), None::<String>);
        loop {
            let body = |account: &str| {
                let mut body = json!({"accountId": account, "maxKeyCount": PAGE});
                if let Some(start) = &start {
                    body["startApplicationKeyId"] = json!(start);
                }
                body
            };
            let answer = self.ok(call, body).await?;
            for key in self.list(&answer, "keys", call)? {
                let listed = || {
                    Some(ListedKey {
                        id: text(key, "applicationKeyId")?,
                        name: text(key, "keyName")?,
                    })
                };
                keys.push(listed().ok_or_else(|| self.not_understood(call))?);
            }
            let next = answer.text("/nextApplicationKeyId");
            // A list that does not advance would never end.
            if next.is_none() || next == start {
                return Ok(keys);
            }
            start = next;
        }
    }

    async fn delete_key(&self, id: &str) -> Result<(), Error> {
        let call = "b2_delete_key";
        let answer = self.call(call, |_| json!({"applicationKeyId": id})).await?;
        // B2 has no error code for a missing key.
        if answer.status == StatusCode::BAD_REQUEST
            && self.keys().await?.iter().all(|key| key.id != id)
        {
            return Ok(());
        }
        if answer.status == StatusCode::OK { Ok(()) } else { Err(self.refused(&answer, call)) }
    }

    async fn endpoint(&self) -> Result<Endpoint, Error> {
        let url = match &self.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => self.session().await?.s3,
        };
        // https://s3.us-west-004.backblazeb2.com
        let host = url.split("://s3.").nth(1);
        let region = host.and_then(|host| host.strip_suffix(".backblazeb2.com"));
        let region = self.region.clone().or_else(|| region.map(str::to_owned));
        Ok(Endpoint { url, region })
    }
}
