//! Two things that object_store's client lacks: it does not heed `Retry-After`, and an object whose
//! name it cannot parse ends a listing. Sits between the client and the network.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use http::StatusCode;
use object_store::ClientOptions;
use object_store::client::HttpClient;
use object_store::client::HttpConnector;
use object_store::client::HttpError;
use object_store::client::HttpErrorKind;
use object_store::client::HttpRequest;
use object_store::client::HttpResponse;
use object_store::client::HttpService;
use object_store::client::ReqwestConnector;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::error::Error;
use super::strays::Strays;
use crate::backoff::LONGEST_RETRY_AFTER;
use crate::backoff::retry_after;
use crate::foreign::Foreign;

/// Most characters of an answer that are shown.
const MAX_TEXT: usize = 200;

/// Sends nothing to a store before its `Retry-After` has passed.
#[derive(Clone, Debug, Default)]
pub(super) struct Throttle {
    until: Arc<Mutex<Option<Instant>>>,
    strays: Strays,
}

impl Throttle {
    /// Objects that were left out of listings.
    pub(super) fn strays(&self) -> Strays {
        self.strays.clone()
    }

    /// The rest of the time for which the store asked for no requests.
    pub(super) fn remaining(&self) -> Option<Duration> {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.map(|until| until.saturating_duration_since(Instant::now())).filter(|d| !d.is_zero())
    }

    fn pause(&self, time: Duration) {
        let until = Instant::now() + time.min(LONGEST_RETRY_AFTER);
        let mut current = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Some(current.map_or(until, |current| current.max(until)));
    }
}

impl HttpConnector for Throttle {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Throttled { client, throttle: self.clone() }))
    }
}

#[derive(Debug)]
struct Throttled {
    client: HttpClient,
    throttle: Throttle,
}

impl Throttled {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if let Some(retry_after) = self.throttle.remaining() {
            let error = Error::Busy { status: 503, retry_after: Some(retry_after) };
            return Err(HttpError::new(HttpErrorKind::Unknown, error));
        }
        let listing = request.uri().query().is_some_and(|query| query.contains("list-type="));
        let response = self.client.execute(request).await?;
        let status = response.status();
        // 404 of an object is a normal answer; object_store interprets it.
        let missing = status == StatusCode::NOT_FOUND && !listing;
        if missing || !(status.is_client_error() || status.is_server_error()) {
            return if listing { self.without_strays(response).await } else { Ok(response) };
        }
        let retry_after = retry_after(response.headers(), OffsetDateTime::now_utc());
        let text = response.into_body().bytes().await.unwrap_or_default();
        let text = message(&String::from_utf8_lossy(&text));
        let error = match status {
            StatusCode::NOT_FOUND => Error::NoBucket(text),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::Denied(text),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                if let Some(time) = retry_after {
                    self.throttle.pause(time);
                }
                Error::Busy { status: status.as_u16(), retry_after }
            }
            _ => Error::Refused { status: status.as_u16(), text },
        };
        Err(HttpError::new(HttpErrorKind::Unknown, error))
    }

    async fn without_strays(&self, response: HttpResponse) -> Result<HttpResponse, HttpError> {
        let (parts, body) = response.into_parts();
        let xml = body.bytes().await?;
        let kept = self.throttle.strays.leave_out(&String::from_utf8_lossy(&xml));
        Ok(HttpResponse::from_parts(parts, kept.into()))
    }
}

impl HttpService for Throttled {
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(self.send(request))
    }
}

/// The `<Message>` of S3's XML, or the beginning of any other text.
fn message(text: &str) -> Foreign {
    let inner = text.split_once("<Message>").and_then(|(_, rest)| rest.split_once("</Message>"));
    let text = inner.map_or(text, |(message, _)| message);
    Foreign::shorter(text, MAX_TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_message_is_shown() {
        let xml = "<Error><Code>AccessDenied</Code><Message>No such\nkey</Message></Error>";
        assert_eq!(message(xml), "No such\u{fffd}key");
        assert_eq!(message(&"x".repeat(1000)).as_str().chars().count(), MAX_TEXT + 1);
    }

    #[test]
    fn the_longest_wait_wins_up_to_a_bound() {
        let throttle = Throttle::default();
        assert_eq!(throttle.remaining(), None);
        throttle.pause(Duration::from_secs(30));
        throttle.pause(Duration::from_secs(5));
        assert!(throttle.remaining().is_some_and(|left| left > Duration::from_secs(20)));
        throttle.pause(Duration::from_secs(1 << 40));
        assert!(throttle.remaining().is_some_and(|left| left <= LONGEST_RETRY_AFTER));
        let short = Throttle::default();
        short.pause(Duration::from_millis(1));
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(short.remaining(), None);
    }
}
