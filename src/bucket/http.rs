//! JSON over HTTP, for the APIs of providers. Network.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use ::http::HeaderValue;
use ::http::Method;
use ::http::StatusCode;
use ::http::header::AUTHORIZATION;
use ::http::header::CONTENT_TYPE;
use reqwest::Client;
use reqwest::redirect::Policy;
use rustls::ClientConfig;
use serde_json::Value;
use time::OffsetDateTime;

use super::error::Error;
use crate::backoff::retry_after;
use crate::config::ApiUrl;
use crate::foreign::Foreign;
use crate::http_client;

/// Longest answer: a list of a thousand keys has a tenth of it.
const MAX_LEN: usize = 4 * 1024 * 1024;

/// Longest part of the provider's own words in an error message.
const MAX_SAID: usize = 200;

const USER_AGENT: &str = concat!("farmgate/", env!("CARGO_PKG_VERSION"));

/// Clients with and without TLS.
pub(super) struct Http {
    timeout: Duration,
    plain: Option<Client>,
    /// `None` if the system trusts no CA.
    tls: Option<Client>,
}

/// One request.
pub(super) struct Ask<'a> {
    /// Name of the call, for error messages.
    pub(super) call: &'static str,
    pub(super) method: Method,
    pub(super) base: &'a ApiUrl,
    /// Path and query, appended to `base`.
    pub(super) path: String,
    pub(super) authorization: String,
    pub(super) body: Option<Value>,
}

/// The provider's answer, whatever its status.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl Answer {
    /// The string at a JSON pointer.
    pub(super) fn text(&self, pointer: &str) -> Option<String> {
        self.body.pointer(pointer)?.as_str().map(str::to_owned)
    }

    /// The provider's error code, or else the HTTP status.
    pub(super) fn code(&self) -> String {
        self.text("/code").unwrap_or_else(|| self.status.as_u16().to_string())
    }

    /// The provider's own words about the error, shortened and printable.
    pub(super) fn said(&self) -> Foreign {
        let said = self.text("/message").filter(|said| !said.is_empty());
        brief(&said.unwrap_or_else(|| self.code()))
    }

    /// The error for a caller that expected success.
    pub(super) fn refused(&self, host: &ApiUrl, call: &'static str) -> Error {
        let host = host.host().to_owned();
        match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Error::Unauthorized { host, said: self.said() }
            }
            status if status.is_server_error() => {
                Error::Failed { host, status: status.as_u16(), said: self.said() }
            }
            _ => Error::Refused { host, call, code: brief(&self.code()), said: self.said() },
        }
    }
}

impl Http {
    /// Requests take at most `timeout` each.
    pub(super) fn new(timeout: Duration) -> Self {
        // Credentials may cross this machine without TLS, but no proxy.
        let plain = client(http_client::trusting_nobody(), Client::builder().no_proxy());
        let tls = client(http_client::believing_the_system(), Client::builder());
        Self { timeout, plain, tls }
    }

    /// Sends a request and reads the whole answer. The timeout covers all of it, however slowly
    /// the answer drips. A busy provider is an error; other statuses are up to the caller.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Answer, Error> {
        let (base, call) = (ask.base, ask.call);
        let host = base.host().to_owned();
        let client = if base.tls() { &self.tls } else { &self.plain };
        let client = client.as_ref().ok_or_else(|| Error::NoRoots { host: host.clone() })?;
        let exchange = tokio::time::timeout(self.timeout, exchange(client, ask));
        let (status, retry_after, body) = match exchange.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(reason)) => return Err(Error::Unreachable { host, reason }),
            Err(_) => return Err(Error::TimedOut { host, after: self.timeout }),
        };
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            return Err(Error::Busy { host, status: status.as_u16(), retry_after });
        }
        let body = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body) };
        match body {
            Ok(body) => Ok(Answer { status, body }),
            // The error page of a proxy, for instance.
            Err(_) if status.is_server_error() => {
                let said = status.canonical_reason().unwrap_or("no reason given").into();
                Err(Error::Failed { host, status: status.as_u16(), said })
            }
            Err(_) => Err(Error::NotUnderstood { host, call }),
        }
    }
}

/// A client that follows no redirect, because credentials go to the configured server alone. It
/// keeps no connection: requests are rare, and an idle connection may be dead when the next comes.
fn client(tls: Option<Arc<ClientConfig>>, builder: reqwest::ClientBuilder) -> Option<Client> {
    let builder = builder
        .tls_backend_preconfigured(Arc::unwrap_or_clone(tls?))
        .http1_only()
        .pool_max_idle_per_host(0)
        .redirect(Policy::none())
        .user_agent(USER_AGENT);
    builder.build().ok()
}

/// Status, `Retry-After` and body of the answer; or why there is none.
async fn exchange(
    client: &Client,
    ask: Ask<'_>,
) -> Result<(StatusCode, Option<Duration>, Vec<u8>), String> {
    let url = format!("{}{}", ask.base, ask.path);
    let authorization = HeaderValue::try_from(ask.authorization);
    let mut authorization =
        authorization.map_err(|_| "the credentials hold a character that no header can")?;
    authorization.set_sensitive(true);
    let mut request = client.request(ask.method, url).header(AUTHORIZATION, authorization);
    if let Some(body) = ask.body {
        request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
    }
    let mut answer = request.send().await.map_err(reason)?;
    let retry_after = retry_after(answer.headers(), OffsetDateTime::now_utc());
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(reason)? {
        if body.len() + chunk.len() > MAX_LEN {
            return Err(format!("its answer is longer than {MAX_LEN} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((answer.status(), retry_after, body))
}

/// The cause at the bottom: the errors above it say only that a request failed, and its URL.
fn reason(error: reqwest::Error) -> String {
    let mut cause = error.source();
    while let Some(next) = cause.and_then(std::error::Error::source) {
        cause = Some(next);
    }
    cause.map_or_else(|| error.to_string(), ToString::to_string)
}

fn brief(said: &str) -> Foreign {
    Foreign::shorter(said, MAX_SAID)
}
