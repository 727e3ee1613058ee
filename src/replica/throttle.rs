//! What object_store's client lacks: it knows backoff, but not `Retry-After`, and an object whose
//! name it cannot read ends a listing.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;
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
use time::format_description::well_known::Rfc2822;
use tokio::time::Instant;

use super::error::Error;
use super::strays::Strays;

use crate::foreign::Foreign;

/// The longest wait that a store can ask for.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Longest text of an answer that is shown.
const MAX_TEXT: usize = 200;

/// Until when the store wants to be left alone.
#[derive(Clone, Debug, Default)]
pub(super) struct Throttle {
    until: Arc<Mutex<Option<Instant>>>,
    strays: Strays,
}

impl Throttle {
    /// Objects that listings leave out.
    pub(super) fn strays(&self) -> Strays {
        self.strays.clone()
    }

    /// How long still.
    pub(super) fn remaining(&self) -> Option<Duration> {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.map(|until| until.saturating_duration_since(Instant::now())).filter(|d| !d.is_zero())
    }

    fn wait(&self, time: Duration) {
        let until = Instant::now() + time.min(LONGEST);
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
    async fn ask(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if let Some(retry_after) = self.throttle.remaining() {
            let error = Error::Busy { status: 503, retry_after: Some(retry_after) };
            return Err(HttpError::new(HttpErrorKind::Unknown, error));
        }
        let listing = request.uri().query().is_some_and(|query| query.contains("list-type="));
        let response = self.client.execute(request).await?;
        let status = response.status();
        // That an object is not there is an answer like others; object_store itself knows what
        // to make of it.
        let missing = status == StatusCode::NOT_FOUND && !listing;
        if missing || !(status.is_client_error() || status.is_server_error()) {
            return if listing { self.without_strays(response).await } else { Ok(response) };
        }
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| {
            let text = value.to_str().ok()?.trim();
            let seconds = text.parse().ok().map(Duration::from_secs);
            seconds.or_else(|| {
                let at = OffsetDateTime::parse(text, &Rfc2822).ok()?;
                (at - OffsetDateTime::now_utc()).try_into().ok()
            })
        });
        let text = response.into_body().bytes().await.unwrap_or_default();
        let text = message(&String::from_utf8_lossy(&text));
        let error = match status {
            StatusCode::NOT_FOUND => Error::NoBucket(text),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::Denied(text),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                if let Some(time) = retry_after {
                    self.throttle.wait(time);
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
        Box::pin(self.ask(request))
    }
}

/// The `<Message>` of S3's XML, or the beginning of whatever else it is.
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
    fn the_longest_wait_counts_and_has_an_end() {
        let throttle = Throttle::default();
        assert_eq!(throttle.remaining(), None);
        throttle.wait(Duration::from_secs(30));
        throttle.wait(Duration::from_secs(5));
        assert!(throttle.remaining().is_some_and(|left| left > Duration::from_secs(20)));
        throttle.wait(Duration::from_secs(1 << 40));
        assert!(throttle.remaining().is_some_and(|left| left <= LONGEST));
        let short = Throttle::default();
        short.wait(Duration::from_millis(1));
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(short.remaining(), None);
    }
}
