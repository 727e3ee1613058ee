use std::io;
use std::time::Duration;

use ::http::Method;
use ::http::Request;
use ::http::StatusCode;
use ::http::header;
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::Value;
use time::OffsetDateTime;

use super::error::Error;
use crate::backoff::retry_after;
use crate::config::ApiUrl;
use crate::foreign::Foreign;
use crate::http_client;

/// Longest answer: a list of a thousand keys has a tenth of it.
const MAX_LEN: usize = 4 * 1024 * 1024;

/// Longest part of somebody else's words in an error message.
const MAX_SAID: usize = 200;

/// Speaks JSON over HTTP, one connection for each request: they are few.
pub(super) struct Http {
    timeout: Duration,
}

/// One request.
pub(super) struct Ask<'a> {
    /// What for, in error messages.
    pub(super) call: &'static str,
    pub(super) method: Method,
    pub(super) base: &'a ApiUrl,
    /// Path after that of `base`, with its query.
    pub(super) path: String,
    pub(super) authorization: String,
    pub(super) body: Option<Value>,
}

/// An answer that the provider itself gave.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl Answer {
    /// A text in an answer.
    pub(super) fn text(&self, pointer: &str) -> Option<String> {
        self.body.pointer(pointer)?.as_str().map(str::to_owned)
    }

    /// The error code in an answer.
    pub(super) fn code(&self) -> String {
        self.text("/code").unwrap_or_else(|| self.status.as_u16().to_string())
    }

    /// What it says of the error, in few and printable words.
    pub(super) fn said(&self) -> Foreign {
        let said = self.text("/message").filter(|said| !said.is_empty());
        brief(&said.unwrap_or_else(|| self.code()))
    }

    /// The error that it is, for whoever expected none.
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
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout }
    }

    /// Asks, and waits for the whole answer no longer than the timeout, however slowly it
    /// drips. Being busy is an error; what else the provider says is up to the caller.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Answer, Error> {
        let (base, call) = (ask.base, ask.call);
        let host = base.host().to_owned();
        let exchange = tokio::time::timeout(self.timeout, exchange(ask));
        let http_client::Answer { status, headers, body, .. } = match exchange.await {
            Ok(answer) => answer?,
            Err(_) => return Err(Error::TimedOut { host, after: self.timeout }),
        };
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            let retry_after = retry_after(&headers, OffsetDateTime::now_utc());
            return Err(Error::Busy { host, status: status.as_u16(), retry_after });
        }
        let body = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body) };
        match body {
            Ok(body) => Ok(Answer { status, body }),
            // A proxy's page, for instance.
            Err(_) if status.is_server_error() => {
                let said = status.canonical_reason().unwrap_or("no reason given").into();
                Err(Error::Failed { host, status: status.as_u16(), said })
            }
            Err(_) => Err(Error::NotUnderstood { host, call }),
        }
    }
}

async fn exchange(ask: Ask<'_>) -> Result<http_client::Answer, Error> {
    let host = ask.base.host();
    let unreachable = |source| Error::Unreachable { host: host.to_owned(), source };
    let no_roots = || Error::NoRoots { host: host.to_owned() };
    let tls = match ask.base.tls() {
        true => Some(http_client::believing_the_system().ok_or_else(no_roots)?),
        false => None,
    };
    let authority = ask.base.as_str().split('/').nth(2).unwrap_or(host);
    let mut request = Request::builder()
        .method(ask.method)
        .uri(format!("{}{}", ask.base.path(), ask.path))
        .header(header::HOST, authority)
        .header(header::AUTHORIZATION, ask.authorization)
        .header(header::USER_AGENT, concat!("farmgate/", env!("CARGO_PKG_VERSION")));
    if ask.body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let body = ask.body.map_or_else(Bytes::new, |body| body.to_string().into());
    // Credentials with a line break in them, for instance.
    let request = request.body(Full::new(body)).map_err(|e| unreachable(io::Error::other(e)))?;
    let server = http_client::Server { host, port: ask.base.port(), tls };
    http_client::exchange(&server, request, MAX_LEN).await.map_err(unreachable)
}

fn brief(said: &str) -> Foreign {
    Foreign::shorter(said, MAX_SAID)
}
